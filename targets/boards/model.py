#!/usr/bin/env python3
"""Makes an image of a model alone, for a board's flash: UF2 for a Pico that is a drive, Intel HEX
for programmers that take an address from the file, or the bytes as they are.

    targets/boards/model.py rp2350 model.uf2
    targets/boards/model.py nrf52840-dk model.hex
    targets/boards/model.py stm32h743-nucleo model.bin
    targets/boards/model.py rp2350 model.uf2 --model mine.kinglet

The address is the one of the board's `memory.x`; the kind follows from the name.
"""

import argparse
import pathlib
import re
import struct
import sys

BOARDS = pathlib.Path(__file__).resolve().parent
MODEL = BOARDS.parent.parent / "models/stories/stories.kinglet"

# Families of UF2 (github.com/microsoft/uf2, utils/uf2families.json): the RP2040's, and for the
# RP2350 the one whose blocks go to their addresses whatever else is in flash.
FAMILIES = {"rp2040": 0xE48BFF56, "rp2350": 0xE48BFF57}
# Bytes of a block.
UF2_PAYLOAD = 256
HEX_PAYLOAD = 32


def region(board):
    """Address and length of the region MODEL."""
    text = (BOARDS / board / "memory.x").read_text()
    found = re.search(r"MODEL\s*:\s*ORIGIN = (\w+), LENGTH = ([^\n]*)", text)

    def number(part):
        scale = {"K": 1 << 10, "M": 1 << 20}.get(part[-1], 1)
        return int(part.rstrip("KM"), 0) * scale

    first, *less = found[2].split(" - ")
    return int(found[1], 0), number(first) - sum(number(part) for part in less)


def uf2(data, address, family):
    """Blocks of 512 bytes: two magic numbers, flags, address, length, number, count, family, the
    payload, zeros, and a magic number at the end."""
    blocks = [data[at:at + UF2_PAYLOAD] for at in range(0, len(data), UF2_PAYLOAD)]
    for number, block in enumerate(blocks):
        head = struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, address + number * UF2_PAYLOAD,
                           UF2_PAYLOAD, number, len(blocks), family)
        yield head + block.ljust(476, b"\0") + struct.pack("<I", 0x0AB16F30)


def intel_hex(data, address):
    """Records of 32 bytes; one of type 4 has the upper half of the addresses after it."""

    def record(kind, offset, payload):
        body = struct.pack(">BHB", len(payload), offset, kind) + payload
        return b":%s%02X\n" % (body.hex().upper().encode(), -sum(body) & 0xFF)

    upper = None
    for at in range(0, len(data), HEX_PAYLOAD):
        place = address + at
        if place >> 16 != upper:
            upper = place >> 16
            yield record(4, 0, struct.pack(">H", upper))
        yield record(0, place & 0xFFFF, data[at:at + HEX_PAYLOAD])
    yield record(1, 0, b"")


def main():
    boards = sorted(path.parent.name for path in BOARDS.glob("*/memory.x"))
    parser = argparse.ArgumentParser(description="An image of a model alone, for a board's flash.")
    parser.add_argument("board", choices=boards)
    parser.add_argument("image", type=pathlib.Path, help="MODEL.uf2, MODEL.hex or MODEL.bin")
    parser.add_argument("--model", type=pathlib.Path, default=MODEL, help="the shipped one if not given")
    arguments = parser.parse_args()

    data = arguments.model.read_bytes()
    if not data.startswith(b"KINGLET\0"):
        sys.exit(f"{arguments.model} is no Kinglet model; `kinglet quantize` makes one")
    address, length = region(arguments.board)
    if len(data) > length:
        sys.exit(f"{arguments.model} has {len(data):,} bytes, and the region MODEL of "
                 f"{arguments.board}/memory.x {length:,}")
    kind = arguments.image.suffix
    if kind == ".uf2":
        if arguments.board not in FAMILIES:
            sys.exit(f"{arguments.board} takes no UF2; give a name that ends in .hex or .bin")
        image = uf2(data, address, FAMILIES[arguments.board])
    elif kind == ".hex":
        image = intel_hex(data, address)
    elif kind == ".bin":
        image = [data]
    else:
        sys.exit(f"{arguments.image}: give a name that ends in .uf2, .hex or .bin")
    arguments.image.write_bytes(b"".join(image))
    print(f"{arguments.image}: {len(data):,} bytes for {address:#010x}")


if __name__ == "__main__":
    main()
