"""Replicas of a teacher on a Ray cluster, `teacher.placement=ray`; docs/ray.md says how to set one up.

`teacher.py` is what the learner asks, `pool.py` shares its requests out, `replica.py` runs in an actor of Ray around a
teacher of any kind, `connection.py` finds the cluster. Ray is imported once it is needed, and not before.
"""
