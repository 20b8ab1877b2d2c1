//! How a relay may end: what each side does, and the reason that is to be on the entry.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::{Counted, Pair};
use crate::support::client::{Ending, read_to_end};

type CloseCase = (&'static str, &'static str, fn(Pair) -> Counted);

/// Name, reason, and what happens. At its end the connection is closed.
pub(super) const ALL: [CloseCase; 15] = [
    ("the app is done", "completed", app_is_done),
    ("the client is done and the app answers", "completed", client_is_done),
    ("the client is done, FIN, and the app answers", "completed", client_is_done_by_fin),
    ("the app is done and the client leaves without a word", "completed", client_leaves_after_the_answer),
    ("the app is done and the client goes on", "completed", client_goes_on),
    ("both are done at once", "completed", both_are_done),
    ("many small words, then the app is done", "completed", chatter),
    ("FIN without close_notify", "client_truncated", client_fin),
    ("FIN in the middle of a entry", "client_truncated", client_fin_in_a_record),
    ("RST of the client", "client_reset", client_reset),
    ("RST of the client after the answer", "client_reset", client_reset_after_the_answer),
    ("a entry that cannot be decrypted", "client_violation", bad_record),
    ("a entry that is too long", "client_violation", long_record),
    ("RST of the app", "app_reset", app_reset),
    ("RST of the app after the client is done", "app_reset", app_reset_after_the_question),
];

pub(super) fn app_is_done(mut pair: Pair) -> Counted {
    pair.app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.client.receive_all(), (Vec::new(), Ending::CloseNotify));
    pair.client.close_notify();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Fin));
    pair.counted()
}

fn client_is_done(mut pair: Pair) -> Counted {
    pair.client.close_notify();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Fin));
    answer(pair)
}

fn client_is_done_by_fin(mut pair: Pair) -> Counted {
    pair.client.close_notify();
    pair.client.fin();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Fin));
    answer(pair)
}

/// Some more bytes of the app, and its end.
fn answer(mut pair: Pair) -> Counted {
    pair.app.write_all(&[7; 5000]).unwrap();
    pair.app.shutdown(Shutdown::Write).unwrap();
    let (bytes, ending) = pair.client.receive_all();
    assert_eq!((bytes.len(), ending), (5000, Ending::CloseNotify));
    pair.down += 5000;
    pair.counted()
}

fn client_leaves_after_the_answer(mut pair: Pair) -> Counted {
    pair.app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.client.receive_all(), (Vec::new(), Ending::CloseNotify));
    pair.client.fin();
    pair.counted()
}

fn client_goes_on(mut pair: Pair) -> Counted {
    pair.app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.client.receive_all(), (Vec::new(), Ending::CloseNotify));
    pair.up(50_000);
    pair.client.close_notify();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Fin));
    pair.counted()
}

fn both_are_done(mut pair: Pair) -> Counted {
    pair.app.shutdown(Shutdown::Write).unwrap();
    pair.client.close_notify();
    assert_eq!(pair.client.receive_all(), (Vec::new(), Ending::CloseNotify));
    pair.counted()
}

fn chatter(mut pair: Pair) -> Counted {
    for n in 1..30 {
        pair.up(n);
        pair.down(2 * n);
    }
    app_is_done(pair)
}

fn client_fin(pair: Pair) -> Counted {
    pair.client.fin();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Reset));
    pair.counted()
}

fn client_fin_in_a_record(mut pair: Pair) -> Counted {
    pair.client.tcp.write_all(&[23, 3, 3, 1, 0, 1, 2, 3]).unwrap();
    client_fin(pair)
}

fn client_reset(mut pair: Pair) -> Counted {
    // A reset may overtake the client's Finished, and then there has never been a session.
    pair.up(1);
    let counted = pair.counted();
    pair.client.reset();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Reset));
    counted
}

fn client_reset_after_the_answer(mut pair: Pair) -> Counted {
    pair.app.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.client.receive_all(), (Vec::new(), Ending::CloseNotify));
    client_reset(pair)
}

fn bad_record(mut pair: Pair) -> Counted {
    pair.client.tcp.write_all(&[23, 3, 3, 0, 32]).unwrap();
    pair.client.tcp.write_all(&[0xaa; 32]).unwrap();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Reset));
    pair.counted()
}

fn long_record(mut pair: Pair) -> Counted {
    pair.client.tcp.write_all(&[23, 3, 3, 0xff, 0xff]).unwrap();
    assert_eq!(read_to_end(&pair.app), (Vec::new(), Ending::Reset));
    pair.counted()
}

fn app_reset(mut pair: Pair) -> Counted {
    let counted = pair.counted();
    socket2::SockRef::from(&pair.app).set_linger(Some(Duration::ZERO)).unwrap();
    drop(pair.app);
    assert_eq!(pair.client.receive_all(), (Vec::new(), Ending::Fin));
    counted
}

fn app_reset_after_the_question(mut pair: Pair) -> Counted {
    pair.client.close_notify();
    assert_eq!(pair.app.read(&mut [0; 1]).unwrap(), 0);
    app_reset(pair)
}
