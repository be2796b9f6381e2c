"""A trained student as files that a robot's computer can run: StableHLO, ONNX, a manifest, a runner, its guards.

    import rpd_jax
    from rpd_jax.export.files import export_student

    student = rpd_jax.load_student("runs/ee", "rpd-mse", seed=0)
    export_student(student, "student")

On the robot, in that directory, with numpy and onnxruntime alone:

    from runner import Student
    from safe_student import SafeStudent

    student = SafeStudent(Student())
    student.observe({"ee": ee})                                 # [D], whenever a message arrives
    action = student.command().action                           # [A], at the rate of control
"""
