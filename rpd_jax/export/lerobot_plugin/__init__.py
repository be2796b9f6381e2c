"""What LeRobot needs to run an exported student: the sources of the package `lerobot_policy_rpd_jax`.

`rpd-jax export --lerobot` copies them; they import torch and lerobot, and nothing of this library.
"""
