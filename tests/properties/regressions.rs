//! What the properties found once, in its smallest form, under a name.

use hallway_core::{Framer, Limits};

/// A buffer that is full, of which the front was taken, may have no room for more before the
/// rest was searched for a frame. It must have some right after.
#[test]
fn there_is_room_as_soon_as_no_frame_is_left() {
    let limits = Limits::builder().max_frame_bytes(512).build();
    let mut framer = Framer::new(&limits.expect("limits"));
    let spare = framer.spare_mut();
    assert_eq!(spare.len(), 513);
    spare.fill(b'x');
    spare[10] = b'\n';
    framer.commit(513);
    assert_eq!(framer.next_frame(), Ok(Some(&[b'x'; 10][..])));
    assert_eq!(framer.next_frame(), Ok(None));
    assert_eq!(framer.spare_mut().len(), 11);
}
