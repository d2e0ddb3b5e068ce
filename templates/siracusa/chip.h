/* Siracusa's registers, as far as the bare-metal runtime uses them.
 *
 * Read from public sources of the chip's family: the PULP event unit, mchan, the cluster control unit, the HWPE
 * interface of N-EUREKA and the HyperBus channel of the uDMA. A core's own view (the "demux") of event unit and
 * DMA needs no arbitration.
 */
#ifndef EDGEC_SIRACUSA_CHIP_H
#define EDGEC_SIRACUSA_CHIP_H

#define CHIP_REGISTER(address) (*(volatile uint32_t *)(address))

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

/* The uDMA's HyperBus channel: copies between L2 and a RAM (select 0) or flash (select 1) off the chip. A
 * transfer is the bus command, the address in the device, the address in L2, the bytes, and the start. */
#define CHIP_UDMA_CLOCKS     0x1A102000 /* a bit a peripheral */
#define CHIP_UDMA_HYPER      (1u << 4)
#define CHIP_HYPER           0x1A102280
#define CHIP_HYPER_READ      0x00 /* into L2: address there; +4: bytes; +8: start */
#define CHIP_HYPER_WRITE     0x0C /* out of L2: the same three */
#define CHIP_HYPER_COMMAND   0x18
#define CHIP_HYPER_ADDRESS   0x1C
#define CHIP_HYPER_STATUS    0x24 /* bit 0: busy; above it: transfers that have not ended */
#define CHIP_HYPER_PAGE      0x100
#define CHIP_HYPER_LATENCY   0x104 /* clocks from the address to the data */
#define CHIP_HYPER_TWICE     0x108 /* 1: always two latencies, as RAM that may be refreshing needs */
#define CHIP_HYPER_SELECT    0x120
#define CHIP_HYPER_GET       5u    /* command: linear burst, read */
#define CHIP_HYPER_PUT       1u    /* command: linear burst, write */
#define CHIP_HYPER_START     0x14u /* enable, words of 32 bits */
#define CHIP_HYPER_QUEUE     8u    /* transfers that the channel holds */
#define CHIP_HYPER_PAGE_1024 3u /* a burst ends where 1 KiB does: RAM must not be selected longer than 4 us */

#define CHIP_L1       0x10000000
#define CHIP_L1_BYTES 0x40000
#define CHIP_L3       0x80000000 /* addresses from here on are bytes of HyperRAM; nothing decodes them */

/* Simulators show characters written here, and end when the exit register is written. */
#define CHIP_OUTPUT 0x1A10F000
#define CHIP_EXIT   0x1A1040A0 /* the exit code with bit 31 */

#endif
