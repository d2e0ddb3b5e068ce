/* Start: the controller lets CORES cluster cores go and sleeps; every core calls core_main(number). */
    .section .text.start,"ax",%progbits
    .globl _start
_start:
    la t0, bss_start
    la t1, bss_end
    j 2f
1:  sw zero, 0(t0)
    addi t0, t0, 4
2:  bltu t0, t1, 1b
    li t0, 0x10201400
    li t1, -1
    sw t1, 0(t0)
    la t1, cluster_start
    li t0, 0x10200040
    li t2, CORES
3:  sw t1, 0(t0)
    addi t0, t0, 4
    addi t2, t2, -1
    bnez t2, 3b
    li t0, 0x10200008
    li t1, (1 << CORES) - 1
    sw t1, 0(t0)
4:  wfi
    j 4b

cluster_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
#ifdef __riscv_flen
    li t0, 0x6000
    csrs mstatus, t0
#endif
    csrr a0, mhartid
    la sp, stack_end_0
    slli t0, a0, 10
    add sp, sp, t0
    call core_main
5:  wfi
    j 5b
