"""Imports go one way: rpd_jax.launch -> teachers -> the rest of rpd_jax, from later rooms to earlier ones."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable
from pathlib import Path

import pytest
from children import ROOT, run

# Folders and files of rpd_jax, in order: a module may import from its own line and from the lines before it.
ROOMS: tuple[tuple[str, ...], ...] = (
    ("rpd_jax.runtime", "rpd_jax.compilation_cache", "rpd_jax.types", "rpd_jax.runs.interrupt"),
    ("rpd_jax.ipc", "rpd_jax.envs.base"),
    ("rpd_jax.config", "rpd_jax.presets"),
    ("rpd_jax.runs.files", "rpd_jax.students", "rpd_jax.runs.lock", "rpd_jax.runs.output_directory"),
    ("rpd_jax.placement", "rpd_jax.keys", "rpd_jax.instructions", "rpd_jax.actions"),
    ("rpd_jax.policies", "rpd_jax.advantages"),
    ("rpd_jax.losses",),
    ("rpd_jax.guidance",),
    ("rpd_jax.envs",),
    ("rpd_jax.demonstrations",),
    ("rpd_jax.algorithms",),
    ("rpd_jax.runs", "rpd_jax.report"),
    ("rpd_jax.training", "rpd_jax.demonstrations.collect", "rpd_jax.demonstrations.record"),
    ("rpd_jax.export",),
    ("rpd_jax.hub",),
    ("rpd_jax.comparison",),
    ("rpd_jax.view",),
    ("rpd_jax.experiments",),
    ("rpd_jax.launch",),
)
PROGRAMS = "rpd_jax.launch"
WITHOUT_JAX_OR_TORCH = (
    "rpd_jax.ipc",
    "rpd_jax.types",
    "rpd_jax.envs.base",
    "rpd_jax.runtime",
    "rpd_jax.compilation_cache",
)
MAY_IMPORT_LINEN = ("rpd_jax.policies", "teachers.octo")
OPENVLA_SERVER, OPENVLA_FINETUNE = "teachers.openvla.server", "teachers.openvla.finetune"
OPENVLA_DISTILL = "teachers.openvla.opd"
MAY_IMPORT_TORCH = (
    "rpd_jax.envs.maniskill.fast_contacts",
    "rpd_jax.envs.maniskill.fast_control",
    "rpd_jax.envs.maniskill.fast_observation",
    "rpd_jax.envs.maniskill.fast_pose",
    "rpd_jax.envs.maniskill.worker",
    "rpd_jax.envs.maniskill.gpu_worker",
    "rpd_jax.export.lerobot_plugin",  # LeRobot's environment runs it
    "rpd_jax.export.lerobot_weights",
    OPENVLA_SERVER,
    OPENVLA_FINETUNE,
    OPENVLA_DISTILL,
)
JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
TORCH = {"torch", "torchvision", "timm", "transformers", "safetensors", "bitsandbytes", "peft", "accelerate"}
LIGHT = ("files", "look", "oft.settings")  # modules of the server that the learner imports
MAY_BE_IMPORTED_BY_OPENVLA_SERVER = (
    OPENVLA_SERVER,
    "rpd_jax.types",
    "rpd_jax.config.validation",
    "rpd_jax.ipc",
    "teachers.sidecar.server",
    "teachers.conventions",
    "teachers.digest",
    "teachers.hub",
    "teachers.serving",
)


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> int:
    """The line of ROOMS that holds a module; the most exact name counts."""
    found = [(len(room), line) for line, rooms in enumerate(ROOMS) for room in rooms if inside(module, room)]
    assert found, f"{module} has no room: name it in ROOMS"
    return max(found)[1]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(tree: ast.AST, package: str, *, types_too: bool = True) -> set[str]:
    """Every module that a file imports, at its head or inside a function, as absolute dotted names.

    `from a import b` gives "a" and "a.b": b may be a module. With `types_too` False, imports under
    `if TYPE_CHECKING` are left out.
    """
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if is_type_checking(node) and not types_too:
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            found.add(base)
            found.update(f"{base}.{name.name}" for name in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found


def modules() -> dict[str, tuple[Path, str]]:
    """Dotted name -> (file, package) of every module in the three packages."""
    found = {}
    for package in ("rpd_jax", "teachers", "launch"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[-1] == "__init__":
                found[".".join(parts[:-1])] = (path, ".".join(parts[:-1]))
            else:
                found[".".join(parts)] = (path, ".".join(parts[:-1]))
    return found


MODULES = modules()


@functools.cache
def imports(module: str, *, types_too: bool = True) -> frozenset[str]:
    path, package = MODULES[module]
    return frozenset(imports_of(ast.parse(path.read_text(), str(path)), package, types_too=types_too))


def inside_any(module: str, rooms: Iterable[str]) -> bool:
    return any(inside(module, room) for room in rooms)


def offenders(modules: Iterable[str], forbidden: Iterable[str], *, types_too: bool = True) -> list[str]:
    """ "module imports name" wherever a name lies in one of the forbidden packages."""
    found = ((module, name) for module in modules for name in sorted(imports(module, types_too=types_too)))
    return [f"{module} imports {name}" for module, name in found if inside_any(name, forbidden)]


def test_the_reader_sees_every_form_of_import() -> None:
    source = (
        "import a.b as c\nfrom d import e\nfrom . import f\nfrom ..g import h\n"
        "def later():\n    import i\n"
        "if TYPE_CHECKING:\n    import j\nelse:\n    import k\n"
    )
    found = imports_of(ast.parse(source), "one.two")
    assert found == {"a.b", "d", "d.e", "one.two", "one.two.f", "one.g", "one.g.h", "i", "j", "k"}
    assert found - imports_of(ast.parse(source), "one.two", types_too=False) == {"j"}


def test_packages_import_one_way() -> None:
    outside = ("tests", "benchmarks", "notebooks")
    assert not offenders(MODULES, outside)
    assert not offenders((m for m in MODULES if not inside(m, PROGRAMS)), (PROGRAMS,))
    assert not offenders((m for m in MODULES if inside(m, "rpd_jax") and not inside(m, PROGRAMS)), ("teachers",))
    assert not offenders(MODULES, ("launch",)), "only a checkout has it: import rpd_jax.launch"


def test_rooms_import_earlier_rooms_only() -> None:
    wrong = []
    for module in MODULES:
        ours = {name for name in imports(module) if name in MODULES and inside(name, "rpd_jax") and name != "rpd_jax"}
        if module != "rpd_jax" and inside(module, "rpd_jax"):
            # Given `from package import module`, the module is what counts.
            targets = [m for m in ours if not any(other != m and inside(other, m) for other in ours)]
            wrong += [f"{module} imports {m}" for m in targets if room_of(m) > room_of(module)]
    assert not wrong, "see ROOMS"


def test_frameworks_stay_in_their_rooms() -> None:
    shared = [m for m in MODULES if inside_any(m, WITHOUT_JAX_OR_TORCH)]
    assert not offenders(shared, {*JAX, "torch", "mani_skill", "sapien"}, types_too=False)
    assert not offenders((m for m in MODULES if not inside_any(m, MAY_IMPORT_LINEN)), ("flax.linen", "flax.nnx"))
    assert not offenders((m for m in MODULES if not inside_any(m, MAY_IMPORT_TORCH)), TORCH, types_too=False)


def test_the_openvla_server_needs_no_jax_and_little_of_ours() -> None:
    server = [m for m in MODULES if inside(m, OPENVLA_SERVER)]
    assert not offenders(server, JAX)
    ours = {name for m in server for name in imports(m) if name in MODULES} - {
        "rpd_jax",
        "teachers",
        "teachers.openvla",
    }
    assert not [name for name in ours if not inside_any(name, MAY_BE_IMPORTED_BY_OPENVLA_SERVER)]


def test_openvla_is_fine_tuned_without_jax() -> None:
    """Nor does anything import it that its modules import, directly or not."""
    found, pending = set(), {m for m in MODULES if inside(m, OPENVLA_FINETUNE)}
    while pending:
        found |= pending
        pending = {n for m in pending & set(MODULES) for n in imports(m, types_too=False)} - found
    assert {"torch", "peft", "teachers.openvla.server.model", "h5py"} <= found
    assert not [name for name in found if inside_any(name, JAX)]


def test_only_its_training_imports_the_openvla_server() -> None:
    """Everything else talks to its process, but for the settings of checkpoints, which need no torch."""
    users = {m: {n for n in imports(m) if inside(n, OPENVLA_SERVER) and n in MODULES} for m in MODULES}
    trainings = (OPENVLA_SERVER, OPENVLA_FINETUNE, OPENVLA_DISTILL)
    others = {m for m in users if users[m] and not inside_any(m, trainings)}
    assert others == {
        "teachers.openvla",
        "teachers.openvla.fitting",
        "teachers.openvla.settings",
        "rpd_jax.launch.check_teacher",
        "rpd_jax.launch.finetune_openvla",
    }
    assert set.union(*map(users.get, others)) == {f"{OPENVLA_SERVER}.{each}" for each in LIGHT}
    for each in LIGHT:
        assert not modules_after(f"import {OPENVLA_SERVER}.{each}") & (TORCH | JAX)


@pytest.mark.parametrize("training", [OPENVLA_FINETUNE, OPENVLA_DISTILL])
def test_only_the_settings_of_training_openvla_are_imported(training: str) -> None:
    users = {m: {n for n in imports(m) if inside(n, training)} for m in MODULES if not inside(m, OPENVLA_DISTILL)}
    names = {n for m, found in users.items() if not inside(m, training) for n in found if n in MODULES}
    assert names == {f"{training}.settings"}
    assert not modules_after(f"import {training}.settings") & (TORCH | JAX)


def modules_after(statement: str) -> set[str]:
    done = run("-c", f"{statement}\nimport sys\nprint(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_a_package_is_light() -> None:
    heavy = {"jax", "flax", "torch", "mani_skill", "matplotlib", "mujoco", "gymnasium"}
    packages = ["rpd_jax.types", "rpd_jax.config", "rpd_jax.envs.base", "rpd_jax.envs.registry", "teachers", PROGRAMS]
    packages += ["teachers.sidecar.linear", *(m for m in MODULES if inside(m, "rpd_jax.ipc"))]
    assert not modules_after(f"import {', '.join(packages)}") & heavy


def test_public_names_are_those_announced() -> None:
    import rpd_jax

    assert set(rpd_jax.__all__) <= set(dir(rpd_jax))
    assert set(rpd_jax.__all__) == {*rpd_jax._MODULES, *rpd_jax._FOLDERS}
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        rpd_jax.trian  # noqa: B018


def test_public_names_resolve_whatever_was_imported_before() -> None:
    """`rpd_jax.train` stays the function, also once its module has been imported."""
    program = (
        "import rpd_jax.training.trainer, rpd_jax, types\n"
        "values = {name: getattr(rpd_jax, name) for name in rpd_jax.__all__}\n"
        "wrong = [n for n in rpd_jax._MODULES if isinstance(values[n], types.ModuleType)]\n"
        "assert not wrong and callable(rpd_jax.train) and callable(rpd_jax.evaluate), wrong\n"
    )
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
