/* Start of a bare RV32 program: stack, FPU, zeroed .bss, main, exit. The loader has filled everything else. */
    .section .text.start,"ax",%progbits
    .globl _start
_start:
    .option push
    .option norelax /* gp has no value yet */
    la gp, __global_pointer$
    .option pop
    la sp, stack_end
    andi sp, sp, -16 /* what the ABI wants, for any size of stack */
#ifdef __riscv_flen
    li t0, 0x6000 /* mstatus.FS: without it the first float instruction traps */
    csrs mstatus, t0
    csrwi fcsr, 0 /* round to nearest, ties to even */
#endif

    la t0, bss_start
    la t1, bss_end
    j 2f
1:  sw zero, 0(t0)
    addi t0, t0, 4
2:  bltu t0, t1, 1b

    li a0, 0 /* main(0, NULL) */
    li a1, 0
    call main
    call hal_exit

    .section .note.GNU-stack,"",%progbits
