"""What N-EUREKA is made of: the sizes of its array, of a line of weights, and the memories that it reaches.

The engine has 6 x 6 elements, one for each output pixel; in a cycle an element multiplies one bit of 9 x 28 weights
(3x3 mode) or all bits of 32 weights (1x1 mode) with 8-bit inputs and adds the sum to one of 32 accumulators.
"""

from __future__ import annotations

PIXELS = 6  # output rows and columns of a pass
COUT = 32  # output channels of a pass: accumulators of an element
CIN = {"3x3": 28, "1x1": 32}  # input channels of a block
SIDE = 3  # rows and columns of a filter in 3x3 mode
TAPS = {"3x3": SIDE * SIDE, "1x1": 1}  # filter positions
BUFFER = 8  # rows and columns of inputs of a pass in 3x3 mode
LINE = 32  # bytes of weights that arrive in a cycle
BITS = range(2, 9)  # widths of weights
WORDS = 24  # registers of a job

L1 = range(0x1000_0000, 0x1004_0000)  # inputs, outputs, scales, biases; weights too
NEURAL = range(0x1040_0000, 0x10C0_0000)  # weights: MRAM, then tile SRAM


def ceil_div(a: int, b: int) -> int:
    """The quotient, rounded up."""
    return -(-a // b)


def blocks(mode: str, cin: int) -> int:
    """Blocks of input channels, the last of which may be short."""
    return ceil_div(cin, CIN[mode])


def lines(mode: str, bits: int) -> int:
    """Lines of weights of an output channel and block. 1x1 weights always take 8 bits."""
    return bits if mode == "3x3" else 1


def weight_bytes(mode: str, cin: int, cout: int, bits: int) -> int:
    """Bytes of a job's encoded weights."""
    return cout * blocks(mode, cin) * lines(mode, bits) * LINE


def fold_rows(n: int) -> int:
    """Filters that n output channels share, nine in each, where the inputs are one pixel amid zeros."""
    return ceil_div(n, TAPS["3x3"])


def gemv_cin(k: int) -> int:
    """Channels of the 3x3 image that a vector of k inputs is seen as: input i is position i // cin, channel i % cin."""
    return ceil_div(k, TAPS["3x3"])
