/* Start of the program on Siracusa: the controller clears .bss, starts the cluster and sleeps; core 0 of the cluster
 * runs main, the other cores wait for kernels. The loader has filled everything else.
 */
#include "chip.h"

    .section .text.start,"ax",%progbits
    .globl _start
_start:
    .option push
    .option norelax /* the controller has no gp */
    la t0, bss_start
    la t1, bss_end
    j 2f
1:  sw zero, 0(t0)
    addi t0, t0, 4
2:  bltu t0, t1, 1b

    li t0, CHIP_ICACHE
    li t1, -1
    sw t1, 0(t0)
    la t1, cluster_start
    li t0, CHIP_BOOT_ADDRESS
    li t2, EDGEC_CORES
3:  sw t1, 0(t0)
    addi t0, t0, 4
    addi t2, t2, -1
    bnez t2, 3b
    fence
    li t0, CHIP_FETCH_ENABLE
    li t1, (1 << EDGEC_CORES) - 1
    sw t1, 0(t0)
4:  wfi
    j 4b
    .option pop

    /* Cores of this family start at their boot address or 0x80 behind it. */
    .balign 256
cluster_start:
    j 5f
    .balign 128
5:
    .option push
    .option norelax /* gp has no value yet */
    la gp, __global_pointer$
    .option pop
#ifdef __riscv_flen
    li t0, 0x6000 /* mstatus.FS: without it the first float instruction traps */
    csrs mstatus, t0
#endif
#if defined(__riscv_flen) || defined(__riscv_zfinx)
    csrwi fcsr, 0 /* round to nearest, ties to even */
#endif
    csrr a0, mhartid
    andi a0, a0, 15
    /* Stacks lie at the bottom of L1, core 0's lowest: one that overflows leaves the memory and traps. */
    la sp, stack_end_0
#if EDGEC_CORES > 1
    beqz a0, 6f
    la sp, stack_end_1
    li t0, EDGEC_WORKER_STACK_BYTES
    addi t1, a0, -1
    mul t0, t0, t1
    add sp, sp, t0
    call hal_siracusa_worker /* never returns */
#endif
6:  li a0, 0 /* main(0, NULL) */
    li a1, 0
    call main
    call hal_exit

    .section .note.GNU-stack,"",%progbits
