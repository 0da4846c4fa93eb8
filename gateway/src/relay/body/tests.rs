//! A scripted provider on one side, a scripted row on the other.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::Piece;
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a provider does next.
enum Step {
    Data(&'static str),
    Break(&'static str),
    Hang,
    /// The next step is not ready at once.
    Later,
}

struct Script(VecDeque<Step>);

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.0.pop_front() {
            Some(Step::Data(text)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            Some(Step::Break(cause)) => Poll::Ready(Some(Err(cause))),
            Some(Step::Hang) => {
                self.0.push_front(Step::Hang);
                Poll::Pending
            }
            Some(Step::Later) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

/// A tap whose stream ends with `last`, and whose row is written when the test says so.
struct Scripted {
    last: Option<&'static str>,
    rest: &'static str,
    ends: Arc<Mutex<Vec<End>>>,
    written: Option<oneshot::Receiver<Result<(), Unrecorded>>>,
}

struct Written(Option<oneshot::Receiver<Result<(), Unrecorded>>>);

impl Future for Written {
    type Output = Result<(), Unrecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(receiver) => Pin::new(receiver).poll(cx).map(|result| result.unwrap()),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Tap for Scripted {
    type Receipt = Written;

    fn see(&mut self, chunk: Bytes) -> Piece {
        // As with a mislabelled stream: known to be one only once a byte has come.
        if self.last == Some("") && !chunk.trim_ascii().is_empty() {
            self.last = Some("END");
        }
        let mark = self.last.filter(|mark| !mark.is_empty());
        let is_last = mark.is_some_and(|mark| memchr::memmem::find(&chunk, mark.as_bytes()).is_some());
        Piece { forward: chunk, is_last }
    }

    fn rest(&mut self) -> Bytes {
        Bytes::from_static(self.rest.as_bytes())
    }

    fn marks_its_end(&self) -> bool {
        self.last.is_some_and(|last| !last.is_empty())
    }

    fn settle(&mut self, end: End) -> Written {
        self.ends.lock().unwrap().push(end);
        Written(self.written.take())
    }
}

struct World {
    body: RelayBody<Script, Scripted>,
    ends: Arc<Mutex<Vec<End>>>,
    write: oneshot::Sender<Result<(), Unrecorded>>,
}

fn relay(last: Option<&'static str>, rest: &'static str, steps: impl IntoIterator<Item = Step>) -> World {
    let ends = Arc::default();
    let (write, written) = oneshot::channel();
    let tap = Scripted { last, rest, ends: Arc::clone(&ends), written: Some(written) };
    World { body: RelayBody::new(Script(steps.into_iter().collect()), tap, PATIENCE, OnClientGone::Abort), ends, write }
}

impl World {
    /// The next piece; `None` when nothing comes before the row is written.
    async fn next(&mut self) -> Option<Result<String, String>> {
        let frame = timeout(Duration::from_secs(1), self.body.frame()).await.ok()??;
        Some(frame.map(text).map_err(|error| error.to_string()))
    }

    /// Writes the row, then reads what is left.
    async fn finish(mut self) -> (String, Result<(), String>, Vec<End>) {
        self.write.send(Ok(())).unwrap();
        let mut all = String::new();
        let end = loop {
            match self.body.frame().await {
                None => break Ok(()),
                Some(Ok(frame)) => all.push_str(&text(frame)),
                Some(Err(error)) => break Err(error.to_string()),
            }
        };
        drop(self.body);
        let ends = self.ends.lock().unwrap().clone();
        (all, end, ends)
    }
}

fn text(frame: Frame<Bytes>) -> String {
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

use Step::{Break, Data, Hang, Later};

#[tokio::test(start_paused = true)]
async fn without_an_end_of_its_own_the_last_piece_waits_for_the_row() {
    let mut world = relay(None, "", [Data("a"), Later, Data("b"), Later, Data("c")]);
    assert_eq!(world.next().await.unwrap().unwrap(), "a");
    assert_eq!(world.next().await.unwrap().unwrap(), "b");
    assert!(world.next().await.is_none(), "the last piece came before the row");
    assert_eq!(*world.ends.lock().unwrap(), [End::Complete]);
    assert_eq!(world.finish().await, ("c".into(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn pieces_that_are_ready_together_are_one_and_wait_together() {
    let mut world = relay(None, "", [Data("a"), Data("b"), Data("c")]);
    assert!(world.next().await.is_none());
    assert_eq!(world.finish().await, ("abc".into(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_passes_at_once_and_its_last_event_waits_for_the_row() {
    let mut world = relay(Some("END"), "", [Data("a"), Later, Data("b"), Later, Data("END"), Later, Data("more")]);
    assert_eq!(world.next().await.unwrap().unwrap(), "a");
    assert_eq!(world.next().await.unwrap().unwrap(), "b");
    assert!(world.next().await.is_none());
    assert_eq!(world.finish().await, ("ENDmore".into(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn a_last_event_joined_with_others_holds_them_and_the_end_behind_it_settles_once() {
    let mut world = relay(Some("END"), "", [Data("a"), Data("END"), Data("more")]);
    assert!(world.next().await.is_none());
    assert_eq!(world.finish().await, ("aENDmore".into(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_its_last_event_ends_when_the_row_is_written() {
    let mut world = relay(Some("END"), "rest", [Data("a")]);
    assert_eq!(world.next().await.unwrap().unwrap(), "a");
    assert!(world.next().await.is_none());
    assert_eq!(world.finish().await, ("rest".into(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn blanks_before_a_stream_that_was_labelled_otherwise_keep_their_place() {
    let world = relay(Some(""), "", [Data("\n"), Later, Data("a"), Later, Data("b"), Later, Data("END")]);
    assert_eq!(world.finish().await, ("\nabEND".into(), Ok(()), vec![End::Complete]));
    let world = relay(Some(""), "", [Data("\n"), Later, Data("a"), Later, Data("b")]);
    assert_eq!(world.finish().await, ("\nab".into(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_has_its_row_before_its_end() {
    let mut world = relay(None, "", []);
    assert!(timeout(Duration::from_secs(1), world.body.frame()).await.is_err(), "it ended before the row");
    assert_eq!(world.finish().await, (String::new(), Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_written_down_and_stays_a_cut() {
    for steps in [vec![Data("a"), Break("reset")], vec![Data("a"), Later, Break("reset")]] {
        let (seen, end, ends) = relay(None, "", steps).finish().await;
        assert_eq!((seen.as_str(), ends), ("a", vec![End::UpstreamCut("reset".into())]));
        assert!(end.unwrap_err().contains("reset"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_leaves_the_server_time_to_write_what_came_before_it() {
    let mut world = relay(Some("END"), "", [Data("a"), Break("reset")]);
    assert_eq!(world.next().await.unwrap().unwrap(), "a");
    world.write.send(Ok(())).unwrap();
    let mut body = Pin::new(&mut world.body);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(body.as_mut().poll_frame(&mut cx).is_pending(), "the server has not written 'a' yet");
    assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(Some(Err(_)))));
    assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn a_cut_behind_the_last_event_is_passed_on_and_changes_no_row() {
    let (seen, end, ends) = relay(Some("END"), "", [Data("END"), Later, Break("reset")]).finish().await;
    assert_eq!((seen.as_str(), end.is_err(), ends), ("END", true, vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_written_cuts_the_answer() {
    let mut world = relay(None, "", [Data("a"), Later, Data("b")]);
    assert_eq!(world.next().await.unwrap().unwrap(), "a");
    let (write, _) = oneshot::channel();
    std::mem::replace(&mut world.write, write).send(Err(Unrecorded("disk full".into()))).unwrap();
    assert!(world.next().await.unwrap().unwrap_err().contains("disk full"));
    assert!(world.next().await.is_none(), "nothing comes after a cut");
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_cut_counted_from_the_last_byte() {
    let began = Instant::now();
    let (seen, end, ends) = relay(Some("END"), "", [Data("a"), Hang]).finish().await;
    assert_eq!((seen.as_str(), end.is_err(), ends), ("a", true, vec![End::UpstreamSilent]));
    assert_eq!(began.elapsed(), PATIENCE);
    // Behind the last event it only ends the answer.
    let (seen, end, ends) = relay(Some("END"), "", [Data("END"), Hang]).finish().await;
    assert_eq!((seen.as_str(), end, ends), ("END", Ok(()), vec![End::Complete]));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_is_written_down_once() {
    let mut world = relay(Some("END"), "", [Data("a"), Hang]);
    assert_eq!(world.next().await.unwrap().unwrap(), "a");
    drop(world.body);
    assert_eq!(*world.ends.lock().unwrap(), [End::ClientGone]);

    let mut world = relay(Some("END"), "", [Data("END"), Hang]);
    assert!(world.next().await.is_none());
    drop(world.body);
    assert_eq!(*world.ends.lock().unwrap(), [End::Complete]);
}

/// A body of the kind that answers are made of here.
#[tokio::test(start_paused = true)]
async fn more_than_the_limit_goes_out_in_several_pieces() {
    let piece = Bytes::from(vec![7; JOIN_LIMIT]);
    let pieces = futures_util::stream::iter((0..3).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone()))));
    let tap = Scripted { last: Some("END"), rest: "", ends: Arc::default(), written: None };
    let mut body = RelayBody::new(http_body_util::StreamBody::new(pieces), tap, PATIENCE, OnClientGone::Abort);
    let mut sizes = Vec::new();
    while let Some(frame) = body.frame().await {
        sizes.push(frame.unwrap().into_data().unwrap().len());
    }
    assert_eq!(sizes, [JOIN_LIMIT; 3]);
}
