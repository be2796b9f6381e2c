"""ManiSkill tasks: simulators in worker processes, or one batched simulator on the GPU."""
