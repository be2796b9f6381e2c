"""The final evaluation of a run: its students and its teacher under one protocol, with videos."""

from __future__ import annotations

from typing import NamedTuple

from rpd_jax.algorithms.base import MemberState
from rpd_jax.config import EvalConfig
from rpd_jax.training.evaluation import Episodes, Evaluator, Film
from rpd_jax.types import Teacher, TeacherSpec


def teacher_label(spec: TeacherSpec) -> str:
    """What a teacher is called in pictures and videos: toys are labelled as such."""
    return "scripted teacher" if spec.is_scripted else f"teacher {spec.name}"


class Assessment(NamedTuple):
    """The final evaluation of a run."""

    students: list[Episodes]  # one per member
    teacher: Episodes | None
    teacher_spec: TeacherSpec | None
    films: dict[str, list[Film]]  # by policy: the teacher first, then one member of each variant


def assess(evaluator: Evaluator, members: MemberState, teacher: Teacher | None, settings: EvalConfig) -> Assessment:
    """Evaluates all members and the teacher under one protocol; records videos of some episodes where it can."""
    population = evaluator.everyone
    videos = settings.videos if evaluator.env.spec.frame_shape is not None else 0
    videos = min(videos, evaluator.num_envs)
    films: dict[str, list[Film]] = {}
    played = None
    if teacher is not None:
        played, teacher_films = evaluator.teacher(teacher, settings, videos)
        films[teacher_label(teacher.spec)] = teacher_films
    variants = [member.variant.name for member in population.members]
    filmed = [(variants.index(spec.name), index) for spec in population.specs for index in range(videos)]
    students, student_films = evaluator.students(members, settings.episodes, filmed)
    for i, spec in enumerate(population.specs):
        films[spec.name] = student_films[i * videos : (i + 1) * videos]
    if not videos:
        films = {}
    return Assessment(students, played, teacher.spec if teacher else None, films)
