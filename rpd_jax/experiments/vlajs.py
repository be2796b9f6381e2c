"""VLA Jump-Starting (arXiv 2604.13733): ten times the horizon (Fig. 5), simplified rewards (Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping

from rpd_jax.comparison import Arm, Case, Claim, Experiment, better, close_to, grid
from rpd_jax.config import Config
from rpd_jax.experiments.rpd import SCRIPTED, STAND_IN, kebab, tabletop
from rpd_jax.presets import maniskill_state, vlajs_horizon, vlajs_pick

OURS = "The paper's environments v2 and v3 were not published: what they pay is ours (rpd_jax/envs/rewards.py)."
WEIGHTS = (0.1, 0.3, 1, 3)  # the paper leaves them open; when the guidance ends mattered little in a first comparison
AGAIN = (
    "The grid of the guided arms' weights was widened after a first comparison, whose best weights lay at its edge and "
    "whose seeds 0, 1 and 2 are among these; that of PPO was left as it was."
)
LIFTED = "In lift-peg-v2 log-std begins at -0.5: with -1.5 VLAJS never succeeded in pilot runs."


def horizon() -> Experiment:
    """Fig. 5: a tenth of the speed and ten times the steps; PPO beside persistent Sparse RPD."""
    config = vlajs_horizon()
    config.eval.every, config.eval.episodes, config.eval.videos = 20, 64, 0
    config.run.checkpoint_every, config.run.iterations_per_call = 20, 10
    return Experiment(
        name="vlajs-horizon",
        title="Do sparse queries carry over a long horizon? (VLAJS, Fig. 5)",
        source="VLA Jump-Starting, arXiv 2604.13733, Fig. 5 (UC1)",
        config=config,
        cases=(
            Case("pick-x10", {"env.name": "tabletop:PickCube-v1"}, "over four tasks Sparse RPD .40, PPO .00"),
            Case(
                "push-x10",
                {
                    "env.name": "tabletop:PushCube-v1",
                    "teacher.noise": 0.6,
                    "teacher.aim_error": 0.0,
                    "teacher.gripper_shift": 0.0,
                },
            ),
        ),
        arms=(
            grid("ppo", learning_rate=(3e-4, 6e-4), target_kl=(None, 0.05)),
            grid("sparse-rpd", mse=(1, 3), target_kl=(None, 0.05), window=(10,), query_fraction=(0.1,)),
        ),
        budgets=(320_000,),
        tuning_seeds=(100,),
        seeds=(0, 1, 2),
        claims=(Claim("Sparse RPD ends above PPO", better("sparse-rpd", "ppo"), ".40 against .00"),),
        deviations=(SCRIPTED, "In push-x10 its noise is 0.6, and it aims right.", *tabletop("vlajs-horizon")),
        minutes=16,
    )


def rewards() -> Experiment:
    """Fig. 6: rewards that do not lead to the object; PPO, VLAJS(RPD) and VLAJS."""
    config = vlajs_pick()
    config.eval.every, config.eval.episodes, config.eval.videos = 10, 128, 0
    config.run.checkpoint_every, config.run.iterations_per_call = 20, 5
    names = {
        "pick": ("PickCube", "PPO .00, VLAJS .95"),
        "pick-place": ("PickPlaceCube", "PPO .00, VLAJS .66"),
        "lift-peg": ("LiftPegUpright", "PPO .17, VLAJS .92"),
        "insert-peg": ("PegInsertionSide", ""),
        "poke": ("PokeCube", ""),
        "push": ("PushCube", ""),
    }
    changes = {"lift-peg": {"network.log_std_init": -0.5}}
    return Experiment(
        name="vlajs-rewards",
        title="Does transient guidance make up for a poor reward? (VLAJS, Fig. 6)",
        source="VLA Jump-Starting, arXiv 2604.13733, Fig. 6 (UC2)",
        config=config,
        cases=tuple(
            Case(f"{key}-v2", {"env.name": f"tabletop:{task}-v1", **changes.get(key, {})}, said)
            for key, (task, said) in names.items()
        ),
        arms=(
            grid("ppo", learning_rate=(3e-4, 6e-4), target_kl=(None, 0.1)),
            grid("sparse-rpd", mse=WEIGHTS),
            grid("vlajs-rpd:kappa=4:shut_off=0.3", mse=WEIGHTS),
            grid("vlajs:kappa=4:shut_off=0.3", direction=WEIGHTS),
        ),
        budgets=(384_000,),
        tuning_seeds=(100,),
        tuning_steps=192_000,
        seeds=(0, 1, 2, 3),
        claims=_claims(
            {"pick-v2": ".95 against .00", "pick-place-v2": ".66 against .00", "lift-peg-v2": ".92 against .17"}
        ),
        deviations=(SCRIPTED, *tabletop("vlajs-pick"), OURS, LIFTED, AGAIN),
        minutes=56,
    )


UNSAID = "The paper gives neither PPO's settings nor the number of steps: they are ManiSkill's, and ten million."


def horizon_paper() -> Experiment:
    """Fig. 5 on ManiSkill, with nothing tuned."""
    config = _paper()
    config.env.horizon_scale = 10
    config.guidance.window_iterations = 10  # one episode
    tasks = ("PickCube", "PushCube", "LiftPegUpright", "PokeCube")
    return Experiment(
        name="vlajs-horizon",
        title="Do sparse queries carry over a long horizon? (VLAJS, Fig. 5, as published)",
        source=horizon().source,
        config=config,
        cases=tuple(Case(f"{kebab(task)}-x10", {"env.name": f"maniskill:{task}-v1"}) for task in tasks),
        arms=(Arm("ppo", ("ppo",)), Arm("sparse-rpd", ("sparse-rpd:window=10",))),
        budgets=(10_000_000,),
        seeds=tuple(range(6)),
        claims=horizon().claims,
        deviations=(STAND_IN, UNSAID, f"Which four tasks the paper means is a guess: {', '.join(tasks)}."),
        minutes=60 * 24 * 2,
        machine="one H100 (an estimate: 480 million steps of ManiSkill's state)",
    )


def rewards_paper() -> Experiment:
    """Fig. 6 on ManiSkill, with nothing tuned."""
    config = _paper()
    config.env.end_on_success = False
    tasks = ("PickCube", "LiftPegUpright", "PegInsertionSide", "PokeCube", "PushCube")
    return Experiment(
        name="vlajs-rewards",
        title="Does transient guidance make up for a poor reward? (VLAJS, Fig. 6, as published)",
        source=rewards().source,
        config=config,
        cases=tuple(
            Case(f"{kebab(task)}-{kind}", {"env.name": f"maniskill:{task}-v1", "env.reward": kind})
            for task in tasks
            for kind in ("v2", "v3")
        ),
        arms=tuple(Arm(name, (name,)) for name in ("ppo", "vlajs-rpd", "vlajs")),
        budgets=(10_000_000,),
        seeds=tuple(range(6)),
        claims=_claims(
            {
                "pick-cube-v2": ".95 against .00",
                "lift-peg-upright-v2": ".92 against .17",
                "lift-peg-upright-v3": ".63 against .13",
            }
        ),
        deviations=(STAND_IN, UNSAID, OURS, "ManiSkill has no PickPlaceCube."),
        minutes=60 * 24 * 4,
        machine="one H100 (an estimate: 1.8 billion steps of ManiSkill's state)",
    )


def _claims(published: Mapping[str, str]) -> tuple[Claim, ...]:
    """Fig. 6's, and one for each case of which the paper gives figures."""
    return (
        Claim("VLAJS ends above PPO", better("vlajs", "ppo"), ".78 against .34 over nine settings"),
        *(
            Claim(f"{case}: VLAJS above PPO", better("vlajs", "ppo", 0.0, [case]), said)
            for case, said in published.items()
        ),
        Claim("VLAJS(RPD) gains little over PPO", close_to("vlajs-rpd", "ppo", 0.1), ".35 against .34"),
        Claim("VLAJS ends above VLAJS(RPD)", better("vlajs", "vlajs-rpd"), ".78 against .35"),
    )


def _paper() -> Config:
    config = maniskill_state()
    config.env.num_envs = 128
    config.eval.every, config.eval.episodes = 100, 500
    return config
