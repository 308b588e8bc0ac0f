"""Reproducibility benchmark of DAPO (Wang et al., NeurIPS 2019) and DPO (Ma 2023): everything that makes runs."""
