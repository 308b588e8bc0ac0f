"""Small valid command lines, which take less than a second each: every algorithm on every kind of environment."""

_DAPO = (
    "steps=64 env.num_envs=2 algo.batch_size=16 algo.rollout_length=4 algo.updates_per_version=2 algo.reuse=1 "
    "algo.burn_in=0 algo.replay_capacity=64 algo.diagnostics_every=1 logger=none"
)
_ON_POLICY = "steps=64 algo.learner.steps=16 algo.hidden=[8] logger=none"
_PPO = f"{_ON_POLICY} learner=ppo algo.learner.epochs=2 algo.learner.minibatches=2"
_A2C = f"{_ON_POLICY} learner=a2c"
_TRPO = f"{_ON_POLICY} learner=trpo algo.learner.cg_iterations=4 algo.learner.value_batch=8"
_DPO = "algo.batch_size=8 algo.replay_capacity=64 algo.critic_samples=3 algo.baseline_samples=3"
_PENDULUM = "env=mujoco env.task=InvertedPendulum-v5 env.evaluation.every=32 env.evaluation.episodes=1"
_DMC = "env=dmc env.task=cartpole-swingup env.evaluation.every=0"
_SAC = (
    "algo=sac steps=64 algo.random_steps=16 algo.batch_size=8 algo.replay_capacity=64 algo.report_every=16 "
    "algo.hidden=[8] logger=none"
)

RUNS = (
    f"algo=dapo env=classic {_DAPO}",
    f"algo=dapo env=classic algo.recurrent=true {_DAPO}",
    f"algo=dapo env=classic algo.fresh_every=2 algo.fresh_steps=16 {_DAPO}",
    f"algo=dapo env=tabular {_DAPO}",
    f"algo=dapo env=tabular algo.estimator=exact {_DAPO}",
    f"algo=dapo env=tabular algo.estimator=matched_variance {_DAPO}",
    f"algo=dapo env=tabular env.task=garnet_small algo.divergence=entropy {_DAPO}",
    f"algo=dapo env=atari env.task=Pong {_DAPO}",
    f"algo=dapo env=atari hparams=dapo_released_code {_DAPO}",
    f"algo=ppo env=classic {_DAPO}",
    f"algo=impala env=classic {_DAPO}",
    f"algo=a2c env=classic {_DAPO}",
    f"algo=a2c env=tabular env.task=river_swim {_DAPO}",
    f"algo=on_policy {_PENDULUM} {_PPO}",
    f"algo=on_policy {_PENDULUM} {_A2C}",
    f"algo=on_policy {_DMC} {_TRPO}",
    f"algo=on_policy env=classic hparams=on_policy_discrete env.num_envs=2 {_PPO}",
    f"algo=on_policy env=tabular hparams=on_policy_cpu_discrete {_A2C}",
    f"algo=dpo {_PENDULUM} {_PPO} {_DPO}",
    f"algo=dpo {_PENDULUM} {_PPO} {_DPO} algo.critic=mse algo.advantage=gae algo.policy=squashed_gaussian",
    f"algo=dpo {_PENDULUM} env.reward=delayed {_A2C} {_DPO} algo.diagnostics_every=1",
    f"algo=dpo {_PENDULUM} env.reward=sparse {_TRPO} {_DPO} hparams=dpo_released_code",
    f"algo=dpo {_DMC} {_PPO} {_DPO}",
    f"algo=dpo env=classic hparams=dpo_discrete env.num_envs=2 {_PPO} {_DPO}",
    f"algo=dpo env=tabular hparams=dpo_cpu_discrete {_TRPO} {_DPO}",
    f"algo=dpo env=atari hparams=dpo_cpu_discrete {_A2C} {_DPO}",
    f"{_SAC} {_PENDULUM}",
    f"{_SAC} {_DMC}",
    f"-m algo=ppo env=classic seed=1 {_DAPO}",
    f"-m algo=on_policy {_PENDULUM} {_PPO}",
    "algo=proposition1 env=exact steps=5 logger=none",
    "algo=exact_ascent env=exact steps=20 algo.updates_per_version=5 logger=none",
    "algo=uae_variance env=exact env.task=garnet_small steps=2 algo.lambdas=[0.5,0.95] logger=none",
    "algo=baseline_fit env=exact steps=10 algo.width=8 algo.batch_size=8 algo.samples=3 algo.versions=2 "
    "algo.critic_updates=5 algo.report_every=5 logger=none",
)

_PLAN = "scale=smoke logger=none measure_seconds=0"
SUITES = (
    f"plan check=uae_variance {_PLAN}",
    f"plan check=alpha {_PLAN}",
    f"plan check=alpha executor=slurm {_PLAN}",
    f"plan check=multi_step {_PLAN}",
    f"status check=baseline_fit {_PLAN}",
    f"status check=alpha executor=slurm {_PLAN}",
)
