# SPDX-License-Identifier: GPL-2.0-only
"""The fuzzer of <iser/wire.h>: the header passes, and one with a mistake does not."""

import pytest

from iserlab import fuzzwire

RUNS = 50_000

# What a slip of the pen may look like: (what is there, what is instead)
MISTAKES = {
    "length not checked": ("len < headers || len - headers < data", "len < headers"),
    "additional header not counted": ("len < headers || len", "len"),
    "short message": ("len < ISER_HEADERS_LEN", "len < ISER_HEADERS_LEN - 1"),
    "trailing octets": ("- data >= ISCSI_PAD_LEN", "- data > ISCSI_PAD_LEN"),
    "opcode": ("case ISCSI_OP_R2T:\n", "case ISCSI_OP_TEXT:\n"),
    "text without its end": ("n < len && !memcmp", "!memcmp"),
    "byte order": ("read_va = cpu_to_be64(va)", "read_va = va"),
    "wrong STag": ("ctrl->write_stag =", "ctrl->read_stag ="),
    "generation": ("(gen & ISER_ITT_GEN_MASK)", "gen"),
    "login that goes on": ("(hdr->flags & ISCSI_FLAG_LOGIN_TRANSIT)", "true"),
}


def test_header(tmp_path):
    """Every outcome is seen, and nothing is wrong."""
    well, said = fuzzwire.fuzz(fuzzwire.build(), RUNS, directory=tmp_path)
    assert well, said
    seen = fuzzwire.outcomes(said)
    assert seen and all(seen.values()), said


def near(one, other):
    """Whether as often the same was seen. libFuzzer, rarely, runs some input once more."""
    return one.keys() == other.keys() and all(abs(one[key] - other[key]) < 5 for key in one)


def test_a_seed_repeats(tmp_path):
    """The same seed gives the same inputs, another one gives others."""
    program = fuzzwire.build()
    one, again, other = (fuzzwire.outcomes(fuzzwire.fuzz(program, RUNS, seed, tmp_path)[1])
                         for seed in (1, 1, 2))
    assert near(one, again) and not near(one, other)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_found(mistake, tmp_path):
    """And its input is kept, and fails again."""
    right, wrong = MISTAKES[mistake]
    text = fuzzwire.HEADER.read_text(encoding="utf-8")
    assert text.count(right) == 1
    header = tmp_path / "wire.h"
    header.write_text(text.replace(right, wrong), encoding="utf-8")
    program = fuzzwire.build(header)
    well, said = fuzzwire.fuzz(program, RUNS, directory=tmp_path)
    assert not well, said
    assert not fuzzwire.run(program, [fuzzwire.kept(said)], tmp_path)[0]
