"""What the serving file of a distilled student says."""

from __future__ import annotations

from rpd_jax.envs.base import EnvSpec
from rpd_jax.envs.suite import SEPARATOR
from teachers.digest import digest
from teachers.openvla.opd.match import Source
from teachers.openvla.opd.settings import DistillSettings
from teachers.serving import Serving
from teachers.trained_on import TrainedOn


def as_it_acted(settings: DistillSettings, student: Source, spec: EnvSpec) -> Serving:
    """The student is to be served as it acted in this environment, in which it learnt; an OFT platform says the rest.

    Where nothing was set, the server decides as the distillation did.
    """
    tasks = (f"{spec.suite}:{task}" for task in spec.task.split(SEPARATOR))
    return Serving(
        planned=settings.steps,
        cameras={"image_primary": "rgb"},
        statistics_key=student.described.statistics_key,
        prompt=settings.prompt,
        frames=settings.frames,
        center_crop=settings.center_crop,
        base=str(student.base),
        base_digest=digest(student.base),
        trained_on=TrainedOn(
            environments=tuple(dict.fromkeys((spec.name, *tasks))),
            control_modes=(),
            cameras=(spec.camera,) if spec.camera else (),
            image_sizes=spec.frame_shape[:1] if spec.frame_shape else (),
            instructions=spec.instructions or (spec.instruction,),
        ).to_json(),
    )
