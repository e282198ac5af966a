//! States and checks in pieces through the C interface: the bytes and the numbers of the whole, and
//! calls out of order.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use KingletStatus as Status;
use kinglet_c::*;

static MODEL: &[u8] = kinglet_stories::MODEL;
/// Bytes of a page of flash.
const PAGE: usize = 256;

fn open() -> KingletModel {
    let mut model = KingletModel { opaque: [0; _] };
    // SAFETY: a handle and static bytes.
    let opened = unsafe { kinglet_model_open(&mut model, MODEL.as_ptr(), MODEL.len()) };
    assert_eq!(opened, Status::Ok);
    model
}

/// An engine with its buffers, and a sampler with counts.
struct Rig {
    engine: KingletEngine,
    sampler: KingletSampler,
    _buffers: [Vec<f32>; 3],
    logits: Vec<f32>,
}

impl Rig {
    fn new(f16: bool, seed: u64) -> Box<Self> {
        let model = open();
        let mut engine = KingletEngine { opaque: [0; _] };
        let mut sampler = KingletSampler { opaque: [0; _] };
        // SAFETY: handles and buffers of the sizes that are asked for.
        unsafe {
            let sizes = [
                kinglet_state_size(&model) >> usize::from(f16),
                kinglet_workspace_size(&model, 1),
                kinglet_counts_size(&model),
                kinglet_logits_size(&model),
            ];
            let [mut state, mut workspace, mut counts, logits] =
                sizes.map(|size| vec![0.0f32; size / 4]);
            let (state_at, workspace_at) =
                (state.as_mut_ptr().cast::<c_void>(), workspace.as_mut_ptr().cast());
            let init = if f16 { kinglet_engine_init_f16 } else { kinglet_engine_init };
            let made = init(&mut engine, &model, 1, state_at, sizes[0], workspace_at, sizes[1]);
            assert_eq!(made, Status::Ok);
            let mut options = kinglet_sampler_defaults();
            (options.presence, options.penalty_decay) = (0.5, 0.9);
            let counts_at = counts.as_mut_ptr();
            let made = kinglet_sampler_init(&mut sampler, options, seed, counts_at, sizes[2]);
            assert_eq!(made, Status::Ok);
            Box::new(Self { engine, sampler, _buffers: [state, workspace, counts], logits })
        }
    }

    fn step(&mut self, token: u32) -> Status {
        let (logits, size) = (self.logits.as_mut_ptr(), 4 * self.logits.len());
        // SAFETY: the rig's buffers.
        unsafe { kinglet_engine_step(&mut self.engine, token, logits, size) }
    }

    /// Feeds `first` and then what is drawn: the tokens.
    fn tell(&mut self, first: u32, count: usize) -> Vec<u32> {
        let (mut token, mut told) = (first, Vec::new());
        for _ in 0..count {
            assert_eq!(self.step(token), Status::Ok);
            let (logits, len) = (self.logits.as_mut_ptr(), self.logits.len());
            // SAFETY: the rig's buffers.
            unsafe {
                let drawn = kinglet_sampler_sample(&mut self.sampler, logits, len, &mut token);
                assert_eq!(drawn, Status::Ok);
                assert_eq!(kinglet_sampler_accept(&mut self.sampler, null(), token), Status::Ok);
            }
            told.push(token);
        }
        told
    }

    fn snapshot(&self) -> Vec<u8> {
        // SAFETY: the rig's sampler, and a buffer of the size that it asks for.
        unsafe {
            let mut snapshot = vec![0; kinglet_sampler_snapshot_size(&self.sampler)];
            let (at, size) = (snapshot.as_mut_ptr(), snapshot.len());
            assert_eq!(kinglet_sampler_snapshot(&self.sampler, at, size), Status::Ok);
            let short = kinglet_sampler_snapshot(&self.sampler, at, size - 1);
            assert_eq!(short, Status::BufferTooSmall);
            snapshot
        }
    }

    fn begin(&self, writer: &mut KingletStateWriter, next: u32, snapshot: &[u8]) -> Status {
        let (at, size) = (snapshot.as_ptr(), snapshot.len());
        // SAFETY: the rig's engine, and a buffer that lives as long as the writer is used.
        unsafe { kinglet_state_write_begin(writer, &self.engine, next, at, size) }
    }

    fn read(&self, writer: &KingletStateWriter, offset: usize, page: &mut [u8]) -> (Status, usize) {
        let (at, size, mut read) = (page.as_mut_ptr(), page.len(), usize::MAX);
        // SAFETY: the rig's engine and a buffer of that size.
        let status =
            unsafe { kinglet_state_write_read(writer, &self.engine, offset, at, size, &mut read) };
        (status, read)
    }

    fn check(&self, writer: &mut KingletStateWriter, size: usize) -> Status {
        // SAFETY: the rig's engine.
        unsafe { kinglet_state_write_check(writer, &self.engine, size) }
    }

    /// The file in pages, the first one last.
    fn written(&self, next: u32, snapshot: &[u8]) -> Vec<u8> {
        let mut writer = KingletStateWriter { opaque: [0; _] };
        assert_eq!(self.begin(&mut writer, next, snapshot), Status::Ok);
        let mut page = [0; PAGE];
        assert_eq!(self.read(&writer, 0, &mut page), (Status::Unfinished, usize::MAX));
        let mut pieces = 1;
        while self.check(&mut writer, 4096) == Status::More {
            pieces += 1;
        }
        // SAFETY: a writer.
        let size = unsafe { kinglet_state_write_size(&writer) };
        assert!(pieces >= size / 4104 && pieces <= size / 4096 + 1, "{pieces} pieces");
        assert_eq!(self.check(&mut writer, 1), Status::Ok);
        let mut file = vec![0; size];
        for offset in (0..size).step_by(PAGE).rev() {
            let (status, read) = self.read(&writer, offset, &mut page);
            assert_eq!((status, read), (Status::Ok, PAGE.min(size - offset)));
            file[offset..offset + read].copy_from_slice(&page[..read]);
        }
        assert_eq!(self.read(&writer, size, &mut page), (Status::Ok, 0));
        file
    }

    fn load_begin(
        &self,
        loader: &mut KingletStateLoader,
        file: &[u8],
        size: usize,
        room: &mut [u8],
    ) -> Status {
        let (room_at, room_size) = (room.as_mut_ptr(), room.len());
        let header = file.as_ptr();
        // SAFETY: the rig's engine, the front of a file, and a buffer for the loader.
        unsafe { kinglet_state_load_begin(loader, &self.engine, header, size, room_at, room_size) }
    }

    fn load_next(&mut self, loader: &mut KingletStateLoader, bytes: &[u8]) -> Status {
        let (at, size) = (bytes.as_ptr(), bytes.len());
        // SAFETY: the rig's engine and the bytes of a file.
        unsafe { kinglet_state_load_next(loader, &mut self.engine, at, size) }
    }

    /// Loads a file in pieces; the status of the last, and the token to feed.
    fn load(&mut self, file: &[u8]) -> (Status, u32) {
        let mut loader = KingletStateLoader { opaque: [0; _] };
        let (mut room, mut next) = (vec![0; 8 + 8 + 8 * 512], 0);
        let mut status = self.load_begin(&mut loader, file, file.len(), &mut room);
        let before = self.load_next(&mut loader, &[]);
        assert_eq!(before, if status == Status::Ok { Status::More } else { Status::InvalidHandle });
        for piece in file[KINGLET_STATE_HEADER_SIZE..].chunks(4001) {
            if status == Status::Ok || status == Status::More {
                status = self.load_next(&mut loader, piece);
            }
        }
        if status == Status::Ok {
            // SAFETY: the rig's sampler.
            let end = unsafe { kinglet_state_load_end(&loader, &mut next, &mut self.sampler) };
            assert_eq!(end, Status::Ok);
        }
        (status, next)
    }

    /// The whole file of the sequence.
    fn saved(&self, next: u32) -> (Status, Vec<u8>) {
        // SAFETY: an open model.
        let size = unsafe { kinglet_state_file_size(&open()) };
        let mut file = vec![0u32; size / 4];
        // SAFETY: a buffer of that size.
        let status =
            unsafe { kinglet_state_save(&self.engine, next, file.as_mut_ptr().cast(), size) };
        (status, file.iter().flat_map(|word| word.to_le_bytes()).collect())
    }
}

#[test]
fn a_text_goes_on_from_pieces_as_if_it_had_not_stopped() {
    for f16 in [false, true] {
        let mut rig = Rig::new(f16, 5);
        let told = rig.tell(0, 12);
        let next = *told.last().unwrap();
        let file = rig.written(next, &rig.snapshot());
        let expected = rig.tell(next, 12);

        let mut other = Rig::new(f16, 6);
        other.tell(0, 3);
        assert_eq!(other.load(&file), (Status::Ok, next));
        assert_eq!(other.tell(next, 12), expected, "f16: {f16}");

        // An engine with the other type of state.
        assert_eq!(Rig::new(!f16, 1).load(&file).0, Status::StateType);
    }
}

#[test]
fn the_file_in_pieces_is_the_whole_file() {
    let mut rig = Rig::new(false, 1);
    rig.tell(0, 5);
    assert_eq!((Status::Ok, rig.written(9, &[])), rig.saved(9));
    let mut writer = KingletStateWriter { opaque: [0; _] };
    assert_eq!(rig.begin(&mut writer, 1 << 20, &[]), Status::Token);
    assert_eq!(rig.check(&mut writer, 1), Status::InvalidHandle);
}

#[test]
fn an_engine_that_goes_on_ends_a_write() {
    let mut rig = Rig::new(false, 1);
    let mut writer = KingletStateWriter { opaque: [0; _] };
    let mut page = [0; PAGE];
    assert_eq!(rig.begin(&mut writer, 1, &[]), Status::Ok);
    assert_eq!(rig.check(&mut writer, 4096), Status::More);
    assert_eq!(rig.step(1), Status::Ok);
    assert_eq!(rig.check(&mut writer, 4096), Status::Unfinished);
    assert_eq!(rig.begin(&mut writer, 1, &[]), Status::Ok);
    assert_eq!(rig.check(&mut writer, usize::MAX), Status::Ok);
    assert_eq!(rig.read(&writer, 0, &mut page), (Status::Ok, PAGE));
    // SAFETY: the rig's engine.
    assert_eq!(unsafe { kinglet_engine_reset(&mut rig.engine) }, Status::Ok);
    assert_eq!(rig.read(&writer, 0, &mut page), (Status::Unfinished, usize::MAX));
}

#[test]
fn nothing_is_half_loaded() {
    let mut rig = Rig::new(false, 1);
    let fresh = rig.saved(7).1;
    rig.tell(0, 5);
    let good = rig.saved(7).1;
    rig.tell(3, 5);
    let before = rig.saved(7).1;

    // A header that is refused leaves everything as it was.
    let mut loader = KingletStateLoader { opaque: [0; _] };
    let mut damaged = good.clone();
    damaged[20] ^= 1;
    assert_eq!(rig.load(&damaged).0, Status::StateOfOtherModel);
    let begun = rig.load_begin(&mut loader, &good, good.len() - 1, &mut []);
    assert_eq!(begun, Status::StateDamaged);
    assert_eq!(rig.saved(7), (Status::Ok, before.clone()));

    // A file that is damaged leaves the start.
    let mut damaged = good.clone();
    damaged[100_000] ^= 1;
    assert_eq!(rig.load(&damaged).0, Status::StateDamaged);
    assert_eq!(rig.saved(7), (Status::Ok, fresh.clone()));

    // As long as pieces are missing, the engine does nothing else.
    assert_eq!(rig.load(&good), (Status::Ok, 7));
    assert_eq!(rig.saved(7), (Status::Ok, good.clone()));
    let mut next = 0;
    assert_eq!(rig.load_begin(&mut loader, &good, good.len(), &mut []), Status::Ok);
    assert_eq!(rig.saved(7).0, Status::Ok, "no piece has come");
    assert_eq!(rig.load_next(&mut loader, &good[64..5000]), Status::More);
    assert_eq!(rig.step(1), Status::Unfinished);
    assert_eq!(rig.saved(7).0, Status::Unfinished);
    let mut writer = KingletStateWriter { opaque: [0; _] };
    assert_eq!(rig.begin(&mut writer, 1, &[]), Status::Unfinished);
    // SAFETY: the rig's handles.
    unsafe {
        let end = kinglet_state_load_end(&loader, &mut next, null_mut());
        assert_eq!(end, Status::Unfinished);
        // Given up.
        assert_eq!(kinglet_engine_reset(&mut rig.engine), Status::Ok);
    }
    assert_eq!(rig.load_next(&mut loader, &good[5000..]), Status::Unfinished);
    assert_eq!(rig.saved(7), (Status::Ok, fresh));
    assert_eq!(rig.step(1), Status::Ok);
}

#[test]
fn a_snapshot_without_room_or_form_is_refused() {
    let mut rig = Rig::new(false, 1);
    rig.tell(0, 5);
    let snapshot = rig.snapshot();
    let file = rig.written(7, &snapshot);
    let mut loader = KingletStateLoader { opaque: [0; _] };
    let mut room = vec![0; snapshot.len() + 7];
    assert_eq!(rig.load_begin(&mut loader, &file, file.len(), &mut room), Status::Ok);
    assert_eq!(rig.load_next(&mut loader, &file[64..]), Status::BufferTooSmall);
    let restore = |rig: &mut Rig, bytes: &[u8]| {
        // SAFETY: the rig's sampler and a buffer.
        unsafe { kinglet_sampler_restore(&mut rig.sampler, bytes.as_ptr(), bytes.len()) }
    };
    assert_eq!(restore(&mut rig, &snapshot[1..]), Status::StateDamaged);
    assert_eq!(rig.snapshot(), snapshot);
    assert_eq!(restore(&mut rig, &snapshot[..8]), Status::Ok);
    assert_eq!(rig.snapshot(), snapshot[..8]);
}

#[test]
fn a_model_is_verified_in_pieces() {
    let mut memory = vec![0u8; MODEL.len() + 64];
    let start = memory.as_ptr().align_offset(64);
    let bytes = memory[start..].as_mut_ptr();
    let check = |damage: Option<usize>| {
        let mut model = KingletModel { opaque: [0; _] };
        let mut verifier = KingletVerifier { opaque: [0; _] };
        // SAFETY: a model in memory that is large enough, and nothing else uses.
        unsafe {
            bytes.copy_from_nonoverlapping(MODEL.as_ptr(), MODEL.len());
            if let Some(at) = damage {
                *bytes.add(at) ^= 1;
            }
            assert_eq!(kinglet_model_open(&mut model, bytes, MODEL.len()), Status::Ok);
            assert_eq!(kinglet_model_verify_begin(&mut verifier, &model), Status::Ok);
            let whole = kinglet_model_verify(&model);
            // The handle may go.
            model.opaque.fill(0);
            let mut pieces = 1;
            loop {
                match kinglet_model_verify_poll(&mut verifier, 4096) {
                    Status::More => pieces += 1,
                    status => {
                        assert_eq!(status, whole);
                        assert_eq!(kinglet_model_verify_poll(&mut verifier, 1), whole);
                        return (status, pieces);
                    }
                }
            }
        }
    };
    let (status, pieces) = check(None);
    assert_eq!(status, Status::Ok);
    assert!((MODEL.len() / 4096..3 * MODEL.len() / 4096).contains(&pieces), "{pieces} pieces");
    let (status, fewer) = check(Some(MODEL.len() / 2));
    assert_eq!(status, Status::ModelDamaged);
    assert!(fewer < pieces);
}
