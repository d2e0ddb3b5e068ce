/* Siracusa's registers, as far as the bare-metal runtime uses them.
 *
 * Read from public sources of the chip's family: the PULP event unit, mchan, the cluster control unit and the
 * HWPE interface of N-EUREKA. A core's own view (the "demux") of event unit and DMA needs no arbitration.
 */
#ifndef EDGEC_SIRACUSA_CHIP_H
#define EDGEC_SIRACUSA_CHIP_H

#define CHIP_CORES      8 /* worker cores; harts 0 to 7 */
#define CHIP_CONTROLLER 0x3E0

/* Cluster control, written by the controller. */
#define CHIP_FETCH_ENABLE 0x10200008 /* a bit a core */
#define CHIP_BOOT_ADDRESS 0x10200040 /* a word a core */
#define CHIP_TIMER        0x10200400 /* configuration; +8: the count */
#define CHIP_ICACHE       0x10201400 /* all ones: on */

/* A core's event unit. */
#define CHIP_EVENTS          0x10204000
#define CHIP_EVENT_MASK_OR   0x08 /* events that wake the core; written bits are added */
#define CHIP_BARRIER         0x200
#define CHIP_BARRIER_CORES   0x00 /* cores that must arrive */
#define CHIP_BARRIER_TARGETS 0x0C /* cores that are told */
#define CHIP_BARRIER_WAIT    0x1C /* a p.elw from here arrives, waits and clears the event */
#define CHIP_EVENT_BARRIER   16

/* A core's queue of the cluster DMA (mchan). Reading the queue opens a group; a transfer is three words:
 * size and direction, the address in L1, the address outside. */
#define CHIP_DMA_QUEUE     0x10204400
#define CHIP_DMA_STATUS    0x10204404 /* read: a bit a group that has not ended; write: groups to close */
#define CHIP_DMA_INTO_L1   (1u << 17)
#define CHIP_DMA_INCREMENT (1u << 18)
#define CHIP_DMA_LONGEST   ((1u << 17) - 1u) /* the size is a field of 17 bits */

#define CHIP_L1       0x10000000
#define CHIP_L1_BYTES 0x40000

/* Simulators show characters written here, and end when the exit register is written. */
#define CHIP_OUTPUT 0x1A10F000
#define CHIP_EXIT   0x1A1040A0 /* the exit code with bit 31 */

#endif
