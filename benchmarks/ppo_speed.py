"""Plain PPO on CartPole: environment steps a second of a processor, beside stable-baselines3's where it is installed.

The settings are those of PureJaxRL's `ppo.py`: 4 environments of 128 steps an update, 4 passes over 4 minibatches, two
networks of 64 and 64 units, the true reward. `python benchmarks/ppo_speed.py` plays one seed, 64 and stable-baselines3
in turn, an update or more each, on one thread; of each the least seconds of the processor count, since what runs beside
it slows both. Here a pole that fell stays where it is until its 128 steps are over; there the next episode begins. So
what Gymnasium's own environments cost is measured on its MountainCar, whose episodes do not end before.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import time
from collections.abc import Callable

import direct
import torch

from prefrl_cli.run.processor import keep_freed_memory

ENVIRONMENTS, STEPS, PASSES, MINIBATCHES = 4, 128, 4, 4
DISCOUNT, ENTROPY, RATE, CLIP = 0.99, 0.01, 2.5e-4, 0.5
ALIKE = [
    *("env.absorbing=true", f"env.horizon={STEPS}", f"algorithm.episodes={ENVIRONMENTS}"),
    *(f"policy_update.epochs={PASSES}", f"policy_update.minibatches={MINIBATCHES}"),
    *(f"policy_update.discount={DISCOUNT}", f"policy_update.entropy_weight={ENTROPY}"),
    *(f"optimizer.lr={RATE}", f"optimizer.clip={CLIP}", "optimizer.decay_steps=null"),
    *("shaping=environment_reward", "queries.budget=1", "reward_update.updates=0", "reward_update.first_updates=null"),
]


def prefrl(seeds: int, *others: str, experiment: str = "cartpole") -> Callable[[int], object]:
    """A function that makes so many updates of all seeds."""
    algorithm = direct.configured(experiment, f"num_seeds={seeds}", *ALIKE, *others)
    return lambda updates: [algorithm.update() for _ in range(updates)]


def stable_baselines3(id: str = "CartPole-v1") -> Callable[[int], object]:
    """The same for one seed of stable-baselines3."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    model = PPO(
        "MlpPolicy", make_vec_env(id, ENVIRONMENTS, seed=0), n_steps=STEPS, n_epochs=PASSES, device="cpu",
        batch_size=ENVIRONMENTS * STEPS // MINIBATCHES, gamma=DISCOUNT, ent_coef=ENTROPY, learning_rate=RATE,
        max_grad_norm=CLIP,
    )  # fmt: skip
    return lambda updates: model.learn(updates * ENVIRONMENTS * STEPS, reset_num_timesteps=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=10, help="of which the least seconds count")
    parser.add_argument("--updates", type=int, default=4, help="a round of one seed; more seeds make one")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.rounds, given.updates = [1, 2], 1, 1
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the command does
    keep_freed_memory()
    contestants = {f"prefrl, {seeds} seed{'s' * (seeds > 1)}": (prefrl(seeds), seeds) for seeds in given.seeds}
    if importlib.util.find_spec("stable_baselines3"):
        contestants["stable-baselines3, 1 seed"] = (stable_baselines3(), 1)
        car = prefrl(1, "env.id=MountainCar-v0", experiment="gymnasium")
        contestants["prefrl, 1 seed, Gymnasium's car"] = (car, 1)
        contestants["stable-baselines3, the same"] = (stable_baselines3("MountainCar-v0"), 1)
    for make_updates, _ in contestants.values():
        make_updates(1)  # imports happen here
    gc.collect()
    gc.freeze()
    least = dict.fromkeys(contestants, float("inf"))
    for _ in range(given.rounds):
        for name, (make_updates, seeds) in contestants.items():
            updates, before = given.updates if seeds == 1 else 1, time.process_time()
            make_updates(updates)
            least[name] = min(least[name], (time.process_time() - before) / (updates * seeds))
    print(f"environment steps a second of a processor, {ENVIRONMENTS * STEPS} steps an update of a seed")
    for name, seconds in least.items():
        print(f"  {name:34}{ENVIRONMENTS * STEPS / seconds:10,.0f}   {1e3 * seconds:7.2f} ms an update of a seed")


if __name__ == "__main__":
    main()
