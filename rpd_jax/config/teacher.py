"""Settings of the teacher: the one source of their defaults and bounds."""

# No `from __future__ import annotations` here: config flags of ml_collections, in others' programs, read field types.
import dataclasses

from rpd_jax.config.validation import Settings, setting

GRIPPERS = ("fixed", "reference")
TEACHER_DTYPES = ("bf16", "f32", "nf4")
OFT_PLATFORMS = ("libero", "aloha", "bridge", "libero-tokens")
TEACHER_FRAMES = ("libero",)
PROMPTS = ("openvla", "v01")


@dataclasses.dataclass
class TeacherConfig(Settings):
    """Who labels the rollouts, and how good it is."""

    name: str = setting("scripted", required=True)
    path: str = ""  # run directory of a saved student (name=policy), checkpoint or hf://org/name (name=octo)
    contract: str = (
        ""  # what the actions of octo's data mean, see teachers/conventions.py; empty: as the checkpoint says
    )
    statistics_key: str = ""  # the data set in whose units a VLA's actions are, where it knows several
    # Of teachers in processes of their own (openvla):
    python: str = ""  # interpreter of their virtual environment; empty: this one
    devices: tuple[str, ...] = ()  # a process for each: "0", "1" of the GPUs seen here, "cpu"; empty: one, on any
    rows: int = setting(32, low=1)  # observations in one request to a process, which has memory for so many
    cpus: tuple[int, ...] = setting((), low=0)  # cores that the processes may use; empty: all
    log: str = ""  # file that a process's output is appended to; of several processes: with .0, .1 ... at its end
    socket: str = ""  # of a server of launch.serve_teacher that runs already: then nothing else is said of the model
    dtype: str = setting("bf16", choices=TEACHER_DTYPES)
    # Where teacher.oft names a platform, both of these besides what it needs:
    center_crop: bool = False  # for checkpoints that were trained with random crops
    # "libero": first made as LIBERO's data were (JPEG, Lanczos), often with center_crop; empty: as is.
    frames: str = setting("", choices=("", *TEACHER_FRAMES))
    prompt: str = setting("", choices=("", *PROMPTS))  # style of its prompts; empty: as its config.json says
    # What an OpenVLA-OFT checkpoint was trained for; empty: it is OpenVLA's.
    oft: str = setting("", choices=("", *OFT_PLATFORMS))
    # Of a policy server that somebody runs (remote):
    address: str = ""  # e.g. ws://127.0.0.1:8000
    protocol: str = "openpi"  # openpi | vlagents
    request: tuple[str, ...] = ()  # what it is sent, "its name=source", see teachers/remote; empty: what is usual
    frame_size: int = setting(224, low=0)  # pixels of the square that frames are fitted into; 0: sent as they are
    connections: int = setting(1, low=1)  # observations that it is asked about at the same time
    # For it, or for the processes of openvla, to load a model.
    ready_seconds: float = setting(900.0, above=0)
    deadline_seconds: float = setting(60.0, above=0)  # for an answer; a later one counts as a failure
    samples: int = setting(1, low=1)  # labels drawn per transition; their mean is the target
    # Fixed standard deviation of a single label's Gaussian; None: the teacher's own.
    std: float | None = setting(None, above=0)
    min_std: float = setting(0.05, above=0)  # floor of the standard deviation fitted to several samples
    # fixed: mapped into the environment's range; reference: left as the teacher gives it.
    gripper: str = setting("fixed", choices=GRIPPERS)
    probe: bool = True  # move the arm at start-up and check the action contract's signs
    # Observations per call, at most; fewer where they are asked about as the rollout goes on.
    batch_size: int = setting(16_384, low=1)
    # Corruption of scripted teachers; 0 everywhere is the best they can do.
    noise: float = setting(0.0, low=0)  # standard deviation, in action units
    bias: tuple[float, ...] = setting((0.0, 0.0, 0.0), lengths=(3,))  # metres, on the point aimed at
    aim_error: float = setting(0.0, low=0)  # metres, in part of the workspace only
    aim_error_fraction: float = setting(0.0, low=0, high=1)  # that part
    aim_direction: tuple[float, ...] = setting((1.0, 0.0, 0.0), lengths=(3,))  # of the aiming error, world axes
    lag: int = setting(0, low=0)  # steps
    gripper_shift: float = 0.0  # metres, positive closes late
