//! `kinglet bench --board`: records that are believed, and those that are not.
#![cfg(all(feature = "boards", feature = "built-in-model"))]

mod support;

use std::fs;

use support::{Folder, refusal, succeed};

/// The record of a board with the shipped model, among other lines of a console.
fn console(rate: u32) -> String {
    let hash = kinglet_stories::CONTENT_HASH.iter().map(|byte| format!("{byte:02x}"));
    format!(
        "ESP-ROM: boot\r\n{{\"kinglet\":\"0.1.0\",\"board\":\"rp2350\",\"cpu\":\"Cortex-M33\",\
         \"threads\":2,\"mhz\":150.000,\"memories\":{{\"flash\":4194304,\"SRAM\":532480}},\
         \"buffers\":{{\"model\":[\"flash\",1788876],\"state\":[\"SRAM\",202752]}},\
         \"model_hash\":\"{}\",\"model_bytes\":1788876,\"state_type\":\"f32\",\"kernels\":\"dsp\",\
         \"tokens\":32,\"us_per_token\":{rate},\"cycles_per_token\":3000000,\
         \"instructions_per_token\":null,\"stack\":2540,\"digest\":\"5774c7a9\"}}\r\n",
        hash.collect::<String>()
    )
}

#[test]
fn a_record_goes_into_the_table_once() {
    let folder = Folder::new("board-table");
    let (table, record) = (folder.file("boards.csv"), folder.write("console.txt", console(20_000)));
    let told = succeed(&["bench", "--board", &record, "--table", &table]);
    assert_eq!(told.lines().count(), 2, "{told}");
    for cell in ["tokens/s/MHz", "rp2350", "66987272", "50", "0.333", "3,000,000"] {
        assert!(told.contains(cell), "{cell}: {told}");
    }
    // What a token reads is more than half of the model and less than model and state.
    let json = succeed(&["bench", "--board", &record, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let bytes = json[0]["bytes_per_token"].as_u64().expect("a number");
    assert!((900_000..2_000_000).contains(&bytes), "{bytes}");

    let record = folder.write("console.txt", console(10_000));
    succeed(&["bench", "--board", &record, "--table", &table]);
    let other = folder.write("other.txt", console(10_000).replace("rp2350", "mine, \\\"red\\\""));
    let told = succeed(&["bench", "--board", &other, "--table", &table, "--csv"]);
    assert_eq!(told, fs::read_to_string(&table).expect("a table"));
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[1].starts_with("rp2350,Cortex-M33,2,150,") && lines[1].contains(",100,"));
    assert!(lines[2].starts_with("\"mine, \"\"red\"\"\",Cortex-M33,2,150,"), "{told}");
}

#[test]
fn a_record_of_linux_is_taken_too() {
    let folder = Folder::new("board-linux");
    let line = succeed(&["bench", "--record", "-p", "4", "-n", "4", "-r", "1", "-t", "1"]);
    let record = folder.write("record.txt", line);
    let json = succeed(&["bench", "--board", &record, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json[0]["tokens_per_second"].as_f64().expect("a rate") > 0.0);
    assert_eq!((&json[0]["digest"], &json[0]["threads"]), (&"5774c7a9".into(), &1.into()));
}

#[test]
fn what_is_not_believed_does_not_touch_the_table() {
    let folder = Folder::new("board-refused");
    let table = folder.file("boards.csv");
    let hash = "669872725807d46aa0065ee85387f83ad184dd993b4b181701f951c61195917c";
    for (text, said) in [
        (
            console(1).replace("5774c7a9", "5774c7a8"),
            "its digest is 5774c7a8, and here it is 5774c7a9",
        ),
        (console(1).replace(hash, &"0".repeat(64)), "give the board's with -m MODEL"),
        (console(1).replace("\"f32\"", "\"f16\""), "and here it is f16:2a6f0c98"),
        (console(1).replace("\"threads\":2,", ""), "missing field `threads`"),
        ("Once upon a time".to_owned(), "no record in it"),
        (String::new(), "no record in it"),
    ] {
        let record = folder.write("console.txt", text);
        let error = refusal(&["bench", "--board", &record, "--table", &table]);
        assert!(error.contains(said), "{error}");
        assert!(!fs::exists(&table).expect("a folder"), "{said}");
    }
    let record = folder.write("console.txt", console(1));
    for (content, said) in
        [("board,speed\n", "no table of boards"), ("{}", "no table of boards"), ("", "no table")]
    {
        let table = folder.write("other.csv", content);
        let error = refusal(&["bench", "--board", &record, "--table", &table]);
        assert!(error.contains(said), "{error}");
        assert_eq!(fs::read_to_string(&table).expect("as it was"), content);
    }
    let absent = folder.file("absent.txt");
    assert!(refusal(&["bench", "--board", &absent]).contains("cannot read"));
}

/// A pseudo terminal in the place of a board's serial port.
#[cfg(unix)]
#[test]
fn a_port_is_read_until_a_record_comes() {
    use std::io::Write;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    grantpt(&board).expect("granted");
    unlockpt(&board).expect("unlocked");
    let port = ptsname(&board, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_kinglet"))
        .args(["bench", "--csv", "--board", &port])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut board = fs::File::from(board);
    let writer = std::thread::spawn(move || {
        // Opening the port throws away what came before: a board that is reset says it again.
        while board.write_all(console(20_000).as_bytes()).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    });
    let output = program.wait_with_output().expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("reset the board"), "{errors}");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(told.lines().nth(1).expect("a row").starts_with("rp2350,"), "{told}");
    // Nobody reads any more: it may write what the terminal holds, and ends with this process.
    drop(writer);
}
