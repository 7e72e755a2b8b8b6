"""Every experiment, short and small: for tests whose answer does not depend on a size."""

SMALL = ["env.size=4", "env.horizon=12"]
ASKED = ["teacher=skip", "queries.questions=5", "queries.budget=12", "reward_update.batch=8"]
PLAYED = ["algorithm.episodes=2", "queries.segment=5", "queries.from_newest=8", "reward_update.first_updates=3"]
FITTED = ["reward_update.updates=1", "policy_update.epochs=1", "algorithm.evaluation_episodes=2"]
CONTROL = ["steps=8", "env.horizon=10", *PLAYED, "queries.budget=6", *FITTED]
SIZES = {
    # Some seeds have spent their budget long before others, and have fewer rows in the record.
    "oprl_maze": ["steps=8", *SMALL, *ASKED, "preferences.save=asked.npz"],
    "few_answers": ["steps=8", *SMALL, "queries.segment=5", "queries.questions=4", "queries.budget=10"],
    "tutorial/oprl_maze": ["steps=30", *SMALL, "reward_update.min_questions=4", "teacher=equal"],
    "reward_from_file": ["steps=8"],
    "gymnasium": [*CONTROL, "env.id=CartPole-v1"],
    "inverted_pendulum": CONTROL,
    "minigrid": CONTROL,
    **dict.fromkeys(("pendulum", "cartpole", "mountain_car", "acrobot"), CONTROL),
}
NEEDED = {"gymnasium": ["gymnasium"], "inverted_pendulum": ["gymnasium", "mujoco"], "minigrid": ["minigrid"]}  # modules
