"""Everything that makes runs."""

import os

# Linear solves of finite MDPs: several BLAS threads per run would fight over the cores, and change last bits.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
