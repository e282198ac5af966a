// Tests of the emulation.
