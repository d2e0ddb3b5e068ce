"""The Siracusa cluster in an emulator, for tests: no hardware, no vendor tools.

Reading order: board (who runs when), core (one emulator), translate (custom instructions become ordinary code),
instruction and table (what they mean), event_unit, mchan, neureka, hyperbus (the devices).
"""

from edgec.verify.board.board import Board

__all__ = ["Board"]
