//! Damaged checkpoints are refused for what is wrong with them.

use std::path::{Path, PathBuf};

use kinglet_quantize::checkpoint::{Checkpoint, CheckpointError, Problem};

fn bad(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden/bad").join(name)
}

fn open(name: &str) -> Result<Checkpoint, Problem> {
    Checkpoint::open(&bad(name)).map_err(CheckpointError::into_problem)
}

macro_rules! refuses {
    ($opened:expr, $pattern:pat $(if $guard:expr)?) => {
        match $opened {
            Err($pattern) $(if $guard)? => {}
            Err(other) => panic!("refused for another reason: {other:?}"),
            Ok(checkpoint) => panic!("accepted: {checkpoint:?}"),
        }
    };
}

#[test]
fn errors_name_the_file() {
    let path = bad("pickle_os_system/model.pth");
    let error = Checkpoint::open(&path).unwrap_err();
    assert_eq!(error.path(), path);
    let text = error.to_string();
    assert!(text.starts_with(&path.display().to_string()), "{text}");
    assert!(text.contains("posix.system"), "{text}");
}

#[test]
fn damaged_pth_files_are_refused() {
    use Problem::*;
    refuses!(open("converted_strategy/model.pth"), AlreadyConverted { key } if key == "_strategy");
    refuses!(open("integer_tensor/model.pth"), UnsupportedDtype { found, .. } if found == "int64");
    refuses!(open("pickle_eval/model.pth"), ForbiddenGlobal { name } if name.ends_with(".eval"));
    refuses!(open("pickle_os_system/model.pth"), ForbiddenGlobal { name } if name == "posix.system");
    refuses!(open("pickle_prefix/model.pth"), ForbiddenGlobal { name } if name == "os.system");
    refuses!(open("pickle_garbage/model.pth"), Pickle { position: 0, .. });
    refuses!(open("pickle_list/model.pth"), NotAStateDict { found: "a list" });
    refuses!(open("storage_missing/model.pth"), MissingStorage { member, .. } if member == "archive/data/3");
    refuses!(
        open("tensor_beyond_storage/model.pth"),
        BeyondStorage { tensor, available: 640, .. } if tensor == "emb.weight"
    );
    refuses!(open("truncated_half/model.pth"), Zip { .. });
    refuses!(open("truncated_tail/model.pth"), Zip { .. });
    refuses!(open("zip_without_pickle/model.pth"), PickleCount { found: 0 });
}

#[test]
fn damaged_safetensors_files_are_refused() {
    use Problem::*;
    let key = "blocks.0.att.key.weight";
    refuses!(open("st_header_too_long/model.safetensors"), HeaderLength { .. });
    refuses!(open("st_header_u64max/model.safetensors"), HeaderLength { found: u64::MAX, .. });
    refuses!(
        open("st_overlap/model.safetensors"),
        NotContiguous { tensor, .. } if tensor == "blocks.0.att.value.weight"
    );
    refuses!(open("st_reversed_offsets/model.safetensors"), ByteRange { tensor, .. } if tensor == key);
    refuses!(open("st_shape_overflow/model.safetensors"), Shape { tensor, .. } if tensor == key);
    refuses!(open("st_size_mismatch/model.safetensors"), ByteLength { tensor, .. } if tensor == key);
    refuses!(open("st_truncated/model.safetensors"), ByteRange { .. });
}
