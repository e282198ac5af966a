//! Memory of the process, which here has no other tests that free and allocate meanwhile.

use kinglet_host::ResidentMemory;

#[test]
#[cfg(target_os = "linux")]
fn sees_an_allocation() {
    let before = ResidentMemory::now().unwrap();
    let data = std::hint::black_box(vec![1u8; 64 << 20]);
    let during = ResidentMemory::now().unwrap();
    assert!(during.current >= before.current + data.len() as u64 / 2, "{before:?} {during:?}");
    assert!(during.current <= during.peak, "{during:?}");
}
