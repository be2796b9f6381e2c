"""Settings of the teacher: the one source of their defaults, and their validation."""

# No `from __future__ import annotations` here: absl's config flags read the field types, not their names.
import dataclasses

from rpd_jax.validation import at_least_one, choice, positive, require

GRIPPERS = ("fixed", "reference")
TEACHER_DTYPES = ("bf16", "f32", "nf4")
OFT_PLATFORMS = ("libero", "aloha", "bridge", "libero-tokens")
TEACHER_FRAMES = ("libero",)
PROMPTS = ("openvla", "v01")


@dataclasses.dataclass
class TeacherConfig:
    """Who labels the rollouts, and how good it is."""

    name: str = "scripted"
    path: str = ""  # run directory of a saved student (name=policy), checkpoint or hf://org/name (name=octo)
    contract: str = (
        ""  # what the actions of octo's data mean, see teachers/conventions.py; empty: as the checkpoint says
    )
    statistics_key: str = ""  # the data set in whose units a VLA's actions are, where it knows several
    # Of teachers in processes of their own (openvla):
    python: str = ""  # interpreter of their virtual environment; empty: this one
    devices: tuple[str, ...] = ()  # a process for each: "0", "1" of the GPUs seen here, "cpu"; empty: one, on any
    rows: int = 32  # observations in one request to a process, which has memory for so many
    cpus: tuple[int, ...] = ()  # cores that the processes may use; empty: all
    log: str = ""  # file that a process's output is appended to; of several processes: with .0, .1 ... at its end
    socket: str = ""  # of a server of launch.serve_teacher that runs already: then nothing else is said of the model
    dtype: str = "bf16"  # bf16 | f32 | nf4
    # Where teacher.oft names a platform, both of these besides what it needs:
    center_crop: bool = False  # for checkpoints that were trained with random crops
    frames: str = ""  # libero: first made as LIBERO's data were (JPEG, Lanczos), often with center_crop; empty: as is
    prompt: str = ""  # openvla | v01: style of its prompts; empty: as its config.json says
    oft: str = ""  # what an OpenVLA-OFT checkpoint was trained for, see OFT_PLATFORMS; empty: it is OpenVLA's
    # Of a policy server that somebody runs (remote):
    address: str = ""  # e.g. ws://127.0.0.1:8000
    protocol: str = "openpi"  # openpi | vlagents
    request: tuple[str, ...] = ()  # what it is sent, "its name=source", see teachers/remote; empty: what is usual
    frame_size: int = 224  # pixels of the square that frames are fitted into; 0: sent as they are
    connections: int = 1  # observations that it is asked about at the same time
    ready_seconds: float = 900.0  # for it, or for the processes of openvla, to load a model
    deadline_seconds: float = 60.0  # for an answer; a later one counts as a failure
    samples: int = 1  # labels drawn per transition; their mean is the target
    std: float | None = None  # fixed standard deviation of a single label's Gaussian; None: the teacher's own
    min_std: float = 0.05  # floor of the standard deviation fitted to several samples
    gripper: str = "fixed"  # fixed: mapped into the environment's range | reference: left as the teacher gives it
    probe: bool = True  # move the arm at start-up and check the action contract's signs
    batch_size: int = 16_384  # observations per call, at most; fewer where they are asked about as the rollout goes on
    # Corruption of scripted teachers; 0 everywhere is the best they can do.
    noise: float = 0.0  # standard deviation, in action units
    bias: tuple[float, ...] = (0.0, 0.0, 0.0)  # metres, on the point aimed at
    aim_error: float = 0.0  # metres, in part of the workspace only
    aim_error_fraction: float = 0.0  # that part
    aim_direction: tuple[float, ...] = (1.0, 0.0, 0.0)  # of the aiming error, world axes
    lag: int = 0  # steps
    gripper_shift: float = 0.0  # metres, positive closes late

    def validate(self) -> None:
        """Raises ConfigError for the first impossible value."""
        choice("teacher.gripper", self.gripper, GRIPPERS)
        choice("teacher.dtype", self.dtype, TEACHER_DTYPES)
        if self.oft:
            choice("teacher.oft", self.oft, OFT_PLATFORMS)
        if self.prompt:
            choice("teacher.prompt", self.prompt, PROMPTS)
        if self.frames:
            choice("teacher.frames", self.frames, TEACHER_FRAMES)
        at_least_one("teacher", self, "samples", "batch_size", "connections", "rows")
        positive("teacher", self, "min_std", "ready_seconds", "deadline_seconds")
        require(self.frame_size >= 0, "teacher.frame_size", self.frame_size, "at least 0")
        std = self.std
        require(std is None or std > 0, "teacher.std", std, "None or a positive number")
        for field in ("noise", "aim_error", "lag"):
            value = getattr(self, field)
            require(value >= 0, f"teacher.{field}", value, "at least 0")
        fraction = self.aim_error_fraction
        require(0 <= fraction <= 1, "teacher.aim_error_fraction", fraction, "a number in [0, 1]")
        for field in ("bias", "aim_direction"):
            value = getattr(self, field)
            require(len(value) == 3, f"teacher.{field}", value, "three numbers")
