"""A trained student as files that a robot's computer can run: StableHLO, ONNX, a manifest and a runner.

    import rpd_jax
    from rpd_jax.export.files import export_student

    student = rpd_jax.load_student("runs/quickstart", "rpd-mse", seed=0)
    export_student(student, "student")

On the robot, in that directory, with numpy and onnxruntime alone:

    from runner import Student

    action = Student().act({"state": state})                    # [D] -> [A]
"""
