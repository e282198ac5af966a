//! The record of a board: one line of JSON.

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::args::StateType;
use crate::support::terminal;

/// What is read of a record. A firmware's has `us_per_token` and counts, that of `bench --record`
/// has `decode_tps`; all else is the same in both. What a board does not know is `null`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Record {
    /// Version of Kinglet.
    pub(super) kinglet: String,
    board: Option<String>,
    pub(super) cpu: Option<String>,
    /// Cores or threads that compute.
    pub(super) threads: u64,
    pub(super) mhz: Option<f64>,
    pub(super) model_hash: String,
    state_type: String,
    pub(super) kernels: String,
    us_per_token: Option<f64>,
    decode_tps: Option<f64>,
    pub(super) cycles_per_token: Option<u64>,
    pub(super) instructions_per_token: Option<u64>,
    /// Bytes.
    pub(super) stack: Option<u64>,
    pub(super) digest: String,
}

impl Record {
    /// The record of a line; `None` where the line is something else, such as a story.
    ///
    /// # Errors
    ///
    /// When the line begins as a record and is none.
    pub(super) fn of(line: &str) -> Result<Option<Self>> {
        let line = line.trim();
        if !line.starts_with("{\"kinglet\":") {
            return Ok(None);
        }
        match serde_json::from_str(line) {
            Ok(record) => Ok(Some(record)),
            Err(error) => bail!(
                "a record that is damaged or of another version: {error}; let the board print it \
                 again, or give the `kinglet` of its version"
            ),
        }
    }

    /// The board's name.
    pub(super) fn board(&self) -> &str {
        self.board.as_deref().unwrap_or("a board without a name")
    }

    /// # Errors
    ///
    /// When there is no such type.
    pub(super) fn state_type(&self) -> Result<StateType> {
        match self.state_type.as_str() {
            "f32" => Ok(StateType::F32),
            "f16" => Ok(StateType::F16),
            other => bail!("a state in {}: known are f32 and f16", terminal::visible(other)),
        }
    }

    /// The state's type by its name.
    pub(super) fn state_name(&self) -> &str {
        &self.state_type
    }

    /// Where the board has a clock.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        let rate = self.decode_tps.or_else(|| self.us_per_token.map(|micros| 1e6 / micros));
        rate.filter(|rate| rate.is_finite() && *rate > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRMWARE: &str = r#"{"kinglet":"0.1.0","board":"rp2350","cpu":"Cortex-M33","threads":2,"mhz":150.000,"memories":{"SRAM":532480},"buffers":{"model":["flash",1788876]},"model_hash":"66","model_bytes":1788876,"state_type":"f32","kernels":"dsp","tokens":32,"us_per_token":20000,"cycles_per_token":3000000,"instructions_per_token":null,"stack":2540,"digest":"5774c7a9"}"#;
    const LINUX: &str = r#"{"kinglet":"0.1.0","board":null,"cpu":"Cortex-A53 (4)","threads":4,"mhz":null,"model_hash":"66","state_type":"f16","kernels":"dotprod","decode_tps":120.5,"digest":"f16:2a6f0c98"}"#;

    #[test]
    fn records_of_both_kinds_are_read() {
        let record = Record::of(FIRMWARE).unwrap().expect("a record");
        assert_eq!((record.board(), record.threads, record.mhz), ("rp2350", 2, Some(150.0)));
        assert_eq!(record.tokens_per_second(), Some(50.0));
        assert_eq!(record.cycles_per_token, Some(3_000_000));
        assert_eq!(record.state_type().unwrap(), StateType::F32);
        let record = Record::of(LINUX).unwrap().expect("a record");
        assert_eq!(record.tokens_per_second(), Some(120.5));
        assert_eq!((record.stack, record.cycles_per_token), (None, None));
        assert_eq!(record.state_type().unwrap(), StateType::F16);
    }

    #[test]
    fn other_lines_are_none_and_damaged_ones_are_refused() {
        for line in ["", "Once upon a time", "{}", "{\"key\":1}"] {
            assert_eq!(Record::of(line).unwrap(), None, "{line}");
        }
        for line in [&FIRMWARE[..200], &FIRMWARE.replace("\"threads\":2", "\"threads\":-2")] {
            assert!(Record::of(line).unwrap_err().to_string().contains("print it again"), "{line}");
        }
        let record = FIRMWARE.replace("\"f32\"", "\"f64\"");
        let record = Record::of(&record).unwrap().expect("a record");
        assert!(record.state_type().unwrap_err().to_string().contains("f64"));
    }

    #[test]
    fn no_rate_is_made_of_a_time_that_is_not_there() {
        for time in ["null", "0", "-5"] {
            let record = FIRMWARE.replace("20000", time);
            let record = Record::of(&record).unwrap().expect("a record");
            assert_eq!(record.tokens_per_second(), None, "{time}");
        }
    }
}
