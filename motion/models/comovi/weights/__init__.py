"""Pretrained weights of Wan and CoMoVi: names, loading, writing back."""
