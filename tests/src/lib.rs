//! Workspace-level tests of Kinglet.
