"""Agents of Stable Baselines that learn to move in one direction."""

import tempfile

import gymnasium
import numpy as np
from stable_baselines3 import A2C, DQN, PPO


class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros(3, np.float32)
        self.steps = 0
        return self.place, {}

    def step(self, action):
        self.steps += 1
        move = np.float32(0.1 if action else -0.1)
        self.place = np.clip(self.place + move, -1, 1).astype(np.float32)
        return self.place, float(self.place[0]), self.steps >= 20, False, {}


def total(agent):
    return sum(float(parameter.detach().sum()) for parameter in agent.policy.parameters())


start = np.zeros(3, np.float32)
agent = PPO("MlpPolicy", Line(), n_steps=64, batch_size=32, seed=0, device="cpu").learn(256)
print(agent.predict(start, deterministic=True)[0], total(agent))
agent = DQN("MlpPolicy", Line(), learning_starts=50, seed=0, device="cpu").learn(200)
with tempfile.TemporaryDirectory() as folder:
    agent.save(f"{folder}/agent")
    print(DQN.load(f"{folder}/agent").predict(start, deterministic=True)[0], total(agent))
print(total(A2C("MlpPolicy", Line(), seed=0, device="cpu").learn(100)))
