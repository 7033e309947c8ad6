"""The particle worlds of mpe2 (simple_spread, simple_tag, simple_reference, simple_speaker_listener)."""

from games.mpe.game import ParticleWorlds

__all__ = ["ParticleWorlds"]
