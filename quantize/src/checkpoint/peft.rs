//! `adapter_config.json`, which Hugging Face PEFT saves beside `adapter_model.safetensors`.
//!
//! Names and shapes of tensors say which kind an adapter is; the configuration adds the scale:
//!
//! | key | |
//! |---|---|
//! | `peft_type` | `LORA`, `ADALORA`, `MISS` or `BONE`; any other is refused by its name |
//! | `lora_alpha`, `alpha_pattern` | `B A` counts alpha / r times, by the matrix's name |
//! | `use_rslora` | alpha / sqrt(r) |
//! | `init_lora_weights` | `pissa`, `olora` and `corda` train from factors that were taken out of the base, so those are needed as well; other names than those of [`STARTS`] are refused, such as `loftq`, which changes the base for good |
//! | `use_dora` | refused: columns are normalized, which no product adds |
//! | the others of [`REFUSED`] | refused: layers are repeated, or the adapter counts for some tokens only |
//! | `fan_in_fan_out` | the base's layout in memory; `B A` is `[out, in]` either way |
//!
//! Rank comes from the tensors, so `r` and `rank_pattern` need no reading.

use std::path::Path;

use serde_json::{Map, Value};

use super::containers::hugging_face::read_json;
use super::error::{Problem, clip};

/// The file's name.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Longest accepted configuration.
const LIMIT: u64 = 1 << 20;

/// Kinds that are read.
const KINDS: [&str; 4] = ["LORA", "ADALORA", "MISS", "BONE"];

/// Beginnings of factors that leave the base as it is.
const STARTS: [&str; 4] = ["", "gaussian", "eva", "orthogonal"];

/// Beginnings that are taken out of the base; a number of iterations may follow.
const FROM_BASE: [&str; 3] = ["pissa", "olora", "corda"];

/// Keys that change how an adapter counts, where they are neither `null`, `false` nor empty.
const REFUSED: [&str; 6] = [
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
];

/// How an adapter's tensors count.
#[derive(Debug, Clone, Default)]
pub(super) struct PeftConfig {
    /// LoRA's alpha; absent for kinds without one.
    pub(super) alpha: Option<f64>,
    /// Ends of matrices' names that have an alpha of their own.
    alphas: Vec<(String, f64)>,
    /// Whether the scale is alpha / sqrt(r).
    is_rank_stabilized: bool,
    /// Whether training took the start of the factors out of the base.
    pub(super) took_start_from_base: bool,
}

impl PeftConfig {
    /// The scale of a matrix's `B A` of rank `rank`; `alpha` is in place of the file's where given.
    pub(super) fn scale(&self, matrix: &str, rank: usize, alpha: Option<f64>) -> Option<f64> {
        let own = self.alphas.iter().find(|(end, _)| {
            matrix.strip_suffix(&**end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        let alpha = alpha.or(own.map(|own| own.1)).or(self.alpha)?;
        let rank = rank as f64;
        Some(alpha / if self.is_rank_stabilized { rank.sqrt() } else { rank })
    }
}

/// The configuration in a directory; `None` where there is none.
pub(super) fn read(directory: &Path) -> Result<Option<PeftConfig>, Problem> {
    let path = directory.join(CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    parse(&read_json(&path, LIMIT, |cause| Problem::AdapterConfig { cause })?).map(Some)
}

fn parse(values: &Map<String, Value>) -> Result<PeftConfig, Problem> {
    let refused = |cause: String| Err(Problem::AdapterConfig { cause });
    let is_set = |key: &str| match values.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    let kind = values.get("peft_type").and_then(Value::as_str).unwrap_or("none");
    if !KINDS.contains(&kind.to_ascii_uppercase().as_str()) {
        let kind = clip(kind);
        return refused(format!("peft_type is {kind:?}; expected {}", KINDS.join(", ")));
    }
    if let Some(key) = REFUSED.into_iter().find(|key| is_set(key)) {
        return refused(format!("{key} is set, which is not supported"));
    }
    let init = values.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    let took_start_from_base = FROM_BASE.iter().any(|kind| init.starts_with(kind));
    if !took_start_from_base && !STARTS.contains(&init) {
        let init = clip(init);
        return refused(format!("init_lora_weights is {init:?}, which is not supported"));
    }
    let mut alphas = Vec::new();
    for (key, alpha) in values.get("alpha_pattern").and_then(Value::as_object).into_iter().flatten()
    {
        let is_name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
        let (true, Some(alpha)) = (is_name, alpha.as_f64()) else {
            let key = clip(key);
            return refused(format!("alpha_pattern has {key:?}; expected a name and a number"));
        };
        alphas.push((key.clone(), alpha));
    }
    Ok(PeftConfig {
        alpha: values.get("lora_alpha").and_then(Value::as_f64),
        alphas,
        is_rank_stabilized: is_set("use_rslora"),
        took_start_from_base,
    })
}
