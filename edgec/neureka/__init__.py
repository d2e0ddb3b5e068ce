"""N-EUREKA, the neural engine of Siracusa: what a job is, how its weights lie in memory, what it computes, how long.

    engine.py   sizes of the array and the memories that it reaches
    job.py      a job as numbers, and as the 24 registers that carry it
    limits.py   which jobs the engine can run
    encode.py   weights in the engine's layout, and back
    matrix.py   which matrices can be constants of its jobs, and their bytes
    model.py    what a job computes, bit for bit, from its registers and the encoded weights
    cycles.py   how long a job takes

The C twins are in `kernels/neureka/`. Facts come from the public driver (pulp-platform/pulp-nnx), the public GVSoC
model of the engine, which these modules agree with in bits and cycles, and the paper: A. S. Prasad et al., "Siracusa: A
16 nm Heterogeneous RISC-V SoC for Extended Reality With At-MRAM Neural Engine", IEEE JSSC 2024.
"""
