//! Files in pieces, with checksums that fit whatever is in them.

use std::boxed::Box;

use super::*;

/// Sets the checksum right.
fn seal(file: &mut [u8]) {
    if let Some((header, rest)) = file.split_first_chunk_mut() {
        let crc = file_crc(header, rest);
        header[CRC..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The next token and the state of a file that comes in pieces of `len` bytes.
fn decode(bytes: &[u8], len: usize) -> Result<(Option<u32>, Vec<f32>), StateFileError> {
    let Some((header, rest)) = bytes.split_first_chunk() else {
        return Err(StateFileError::TooShort { found: bytes.len() });
    };
    let mut decoder = StateDecoder::new::<f32>(&model(), header, bytes.len())?;
    let mut state = Vec::new();
    for piece in rest.chunks(len) {
        let _ = decoder.feed(piece, &mut |piece| {
            if let StatePiece::Elements { at, bytes } = piece {
                assert_eq!(at, 4 * state.len());
                state.extend(bytes.chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())));
            }
            Ok(())
        })?;
    }
    Ok((decoder.next_token()?, state))
}

/// A file with three sections.
fn long_file() -> Vec<u8> {
    let sections = [
        (StateSection::UnfinishedBytes, &b"\xE2\x82"[..]),
        (StateSection::Sampler, &[7; 24]),
        (StateSection::Text, &[]),
    ];
    with_sections(&sections).unwrap()
}

proptest! {
    /// What the reader of whole files accepts is accepted in pieces, and nothing else.
    #[test]
    fn pieces_are_read_as_the_whole(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        resized in prop::option::of(-20isize..20),
        sealed in prop::bool::weighted(0.9),
        len in prop_oneof![1usize..12, 12usize..600],
    ) {
        let mut file = long_file();
        let whole = file.len();
        file.resize(whole.checked_add_signed(resized.unwrap_or(0)).unwrap(), 0);
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if sealed {
            seal(&mut file);
        }
        match (read(&file), decode(&file, len)) {
            (Ok((state, next)), Ok((found_next, found))) => {
                prop_assert_eq!(bits(&found), bits(&state));
                prop_assert_eq!(found_next, next);
            }
            (Err(whole), Err(pieces)) => {
                // In pieces the header is judged before the checksum, and the elements.
                let crc = matches!(whole, StateFileError::Crc { .. });
                prop_assert!(crc || pieces == whole, "{:?} and {:?}", whole, pieces);
            }
            (whole, pieces) => prop_assert!(false, "{:?} and {:?}", whole, pieces),
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_found_in_pieces(index in 0usize..80, len in 1usize..700) {
        let index = index % model().shape.state_len();
        let file = forged(|file| {
            file[HEADER_LEN + 4 * index..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
        });
        prop_assert_eq!(decode(&file, len), Err(StateFileError::NonFinite { index }));

        // Nor is it written.
        let mut state = vec![0.5; model().shape.state_len()];
        state[index] = f32::NEG_INFINITY;
        let bytes: &[u8] = bytemuck::cast_slice(&state);
        let mut encoder = StateEncoder::new::<f32>(&model(), None, &[]).unwrap();
        let error = loop {
            match encoder.check::<f32>(&|at| &bytes[at..], len) {
                Ok(progress) if progress.is_complete() => break None,
                Ok(_) => (),
                Err(error) => break Some(error),
            }
        };
        prop_assert_eq!(error, Some(StateFileError::NonFinite { index }));
        let read = encoder.read::<f32>(&|at| &bytes[at..], 0, &mut [0; 64]);
        let incomplete = matches!(read, Err(StateFileError::Incomplete { .. }));
        prop_assert!(incomplete);
    }

    #[test]
    fn an_f16_value_that_is_not_finite_is_found(index in 0usize..80, len in 1usize..400) {
        let model = model();
        let index = index % model.shape.state_len();
        let state = vec![f16::from_f32(0.5); model.shape.state_len()];
        let mut file = vec![0; StateFile::<f16>::len(&model.shape)];
        StateFile::write(&model, &state, None, &mut file).unwrap();
        file[HEADER_LEN + 2 * index..][..2].copy_from_slice(&f16::NEG_INFINITY.to_le_bytes());
        seal(&mut file);
        let (header, rest) = file.split_first_chunk().unwrap();
        let mut decoder = StateDecoder::new::<f16>(&model, header, file.len()).unwrap();
        let error = rest.chunks(len).find_map(|piece| decoder.check(piece).err());
        prop_assert_eq!(error, Some(StateFileError::NonFinite { index }));
    }
}

#[test]
fn a_file_that_is_refused_stays_refused() {
    let file = long_file();
    let (header, rest) = file.split_first_chunk().unwrap();
    let fresh = StateDecoder::new::<f32>(&model(), header, file.len()).unwrap();
    let mut damaged = rest.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut decoder = fresh;
    let error = decoder.check(&damaged).unwrap_err();
    assert!(matches!(error, StateFileError::Crc { .. }));
    assert_eq!(decoder.check(&[]), Err(error));
    assert_eq!(decoder.check(rest), Err(error));
    assert!(decoder.next_token().is_err() && !decoder.progress().is_complete());

    let mut decoder = fresh;
    let long: Box<[u8]> = [rest, &[0]].concat().into();
    let expected = file.len() as u64;
    let too_long = Err(StateFileError::Length { found: expected + 1, expected });
    assert_eq!(decoder.check(&long), too_long);
    let mut decoder = fresh;
    assert!(decoder.check(rest).unwrap().is_complete());
    assert_eq!(decoder.next_token(), Ok(Some(3)));
    assert_eq!(decoder.check(&[0]), too_long);
    assert_eq!(decoder.next_token().map(|_| ()), too_long.map(|_| ()));
}
