//! Chooses the model whose header sizes the buffers: the file that `KINGLET_MODEL` names, or the
//! one that ships.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(given_model)");
    println!("cargo::rerun-if-env-changed=KINGLET_MODEL");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(model) = env::var_os("KINGLET_MODEL").filter(|path| !path.is_empty()) {
        let model = Path::new(&model);
        assert!(
            model.is_absolute() && model.is_file(),
            "KINGLET_MODEL is {}: give the absolute path of a model file",
            model.display()
        );
        println!("cargo::rustc-cfg=given_model");
        println!("cargo::rustc-env=KINGLET_MODEL={}", model.display());
        println!("cargo::rerun-if-changed={}", model.display());
    }
}
