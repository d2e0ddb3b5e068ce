/* Hardware loops; each function returns in a0 how often its parts ran. */
#define SETUP(loop, count, last) .word ((last - .) / 2 << 20) | (count << 15) | (4 << 12) | (loop << 7) | 0x7b
#define SETUPI(loop, count, last) .word (count << 20) | ((last - .) / 2 << 15) | (5 << 12) | (loop << 7) | 0x7b
#define STARTI(loop, first) .word ((first - .) / 2 << 20) | (loop << 7) | 0x7b
#define ENDI(loop, last) .word ((last - .) / 2 << 20) | (1 << 12) | (loop << 7) | 0x7b
#define COUNT(loop, count) .word (count << 15) | (2 << 12) | (loop << 7) | 0x7b
#define COUNTI(loop, count) .word (count << 20) | (3 << 12) | (loop << 7) | 0x7b
#define A0 10
#define A1 11
#define A2 12

    .macro function name
    .text
    .option norvc
    .balign 4
    .globl \name
    .type \name, @function
\name:
    .endm

/* count 0 or 1: the body runs once */
    function loop_register
    li a1, 0
    SETUP(0, A0, 1f)
    addi a1, a1, 1
    addi a1, a1, 16
1:  addi a1, a1, 256
    mv a0, a1
    ret

    function loop_immediate
    li a0, 0
    SETUPI(1, 37, 1f)
    addi a0, a0, 1
    nop
1:  .insn r 0x33, 0, 0x21, a0, a0, zero /* p.mac at the end, adding nothing */
    ret

    function loop_nested
    li a1, 0
    li a2, 5
    SETUP(1, A0, 2f)
    addi a1, a1, 1
    SETUP(0, A2, 1f)
    addi a1, a1, 16
    nop
1:  addi a1, a1, 256
    li a3, 1
2:  slli a3, a3, 16
    add a1, a1, a3
    mv a0, a1
    ret

/* both loops end with the same instruction; the inner one is set up again by the outer body */
    function loop_same_end
    li a1, 0
    SETUP(1, A0, 1f)
    addi a1, a1, 1
    SETUPI(0, 3, 1f)
    nop
    nop
1:  addi a1, a1, 256
    mv a0, a1
    ret

/* the inner loop keeps its ends, only its count is written again */
    function loop_parts
    li a1, 0
    STARTI(0, 1f)
    ENDI(0, 2f)
    li a2, 4
3:  COUNT(0, A2)
    nop
    .balign 4
1:  addi a1, a1, 1
    nop
2:  addi a1, a1, 16
    addi a0, a0, -1
    bnez a0, 3b
    mv a0, a1
    ret

    function loop_count_first
    li a1, 0
    COUNTI(1, 9)
    ENDI(1, 2f)
    STARTI(1, 1f)
1:  addi a1, a1, 1
    nop
2:  addi a1, a1, 16
    mv a0, a1
    ret

/* a loop left by nobody stays counted out: passing its end again does not go back */
    function loop_passed_again
    li a1, 0
    li a2, 3
    SETUP(0, A0, 1f)
2:  addi a1, a1, 1
    nop
1:  addi a1, a1, 16
    addi a2, a2, -1
    bnez a2, 2b
    mv a0, a1
    ret

/* a loop whose registers another one takes over before it has run is none any more */
    function loop_replaced
    li a1, 0
    STARTI(0, 3f)
    ENDI(0, 4f)
    COUNT(0, A0)
    SETUP(0, A0, 1f)
    addi a1, a1, 1
    nop
1:  addi a1, a1, 16
3:  addi a1, a1, 256
    nop
4:  nop
    mv a0, a1
    ret

/* adds the odd numbers from a0 - 3 down to -2: branches into translated code and out of it, and p.bneimm */
#define BNEIMM(register, number, target) .word (number & 31) << 20 | register << 15 | 3 << 12 | 0x63 | \
    ((target - .) >> 12 & 1) << 31 | ((target - .) >> 5 & 0x3f) << 25 | ((target - .) >> 1 & 15) << 8 | ((target - .) >> 11 & 1) << 7
    function loop_branches
    li a1, 0
    addi a0, a0, -3
1:  andi a2, a0, 1
    beqz a2, 2f
    .insn r 0x33, 0, 0x21, a1, a0, a2
2:  addi a0, a0, -1
    BNEIMM(A0, -3, 1b)
    mv a0, a1
    ret

/* addresses relative to the pc, and a call, among custom instructions */
    function loop_addresses
    addi sp, sp, -16
    sw ra, 0(sp)
    .insn r 0x33, 6, 0x02, a0, a0, zero
1:  auipc a1, 1
    .insn r 0x33, 6, 0x02, a0, a0, zero
    la a2, 1b
    sub a1, a1, a2
    call loop_called
    .insn r 0x33, 0, 0x21, a0, a1, a0
    lw ra, 0(sp)
    addi sp, sp, 16
    ret
    function loop_called
    .insn r 0x33, 6, 0x02, a0, a0, zero
    addi a0, a0, 1
    ret
