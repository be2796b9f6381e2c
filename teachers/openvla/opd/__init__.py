"""On-policy distillation (VLA-OPD, arXiv 2603.26666) with OpenVLA or OpenVLA-OFT as the student, in torch.

The student plays in any suite's environments, its teacher scores the tokens that it chose, and it learns from the
scores. One program under accelerate, which torchrun starts once for each GPU. Everything but `settings` needs torch.
"""
