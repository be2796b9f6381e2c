"""Demonstrations: recording episodes, storing them in ManiSkill's and LeRobot's formats, and reading them again."""
