"""Trainers change a policy: `sft` on expert answers, `ppo` on the verifier's rewards."""
