//! Many records at once: `kv load` and `kv dump`.

use std::{
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, BufRead, BufReader, BufWriter, Write as _},
    path::PathBuf,
    time::Instant,
};

use flotilla_client::{Error, RawKv};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use super::lines::{self, Record};
use crate::{
    args::{Globals, RangeArgs},
    catalogue, context,
    fault::Fault,
    output::{self, Format},
    tally::Tally,
    text,
};

/// Batches under way at the same time. Records of one key always go through the same lane, so that
/// the last of them wins.
const LANES: usize = 16;
/// Records and bytes of one batch: one log entry on the store.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 << 10;
/// Batches waiting in each lane.
const LANE_QUEUE: usize = 2;

/// `flotilla kv load`.
pub(crate) async fn load(globals: &Globals, file: Option<PathBuf>) -> Result<(), Fault> {
    let input: Box<dyn BufRead + Send> = match &file {
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) => {
            let opened = File::open(path);
            let what = format!("cannot open {}", path.display());
            let opened = opened.map_err(|cause| {
                Fault::io(what, &cause).hint("standard input is read where no file is named")
            })?;
            Box::new(BufReader::new(opened))
        }
    };
    let raw = context::connect(globals).await?.raw();
    let started = Instant::now();
    let mut lanes = Vec::with_capacity(LANES);
    let mut writers = JoinSet::new();
    for _lane in 0..LANES {
        let (lane, batches) = mpsc::channel(LANE_QUEUE);
        lanes.push(lane);
        writers.spawn(write(raw.clone(), batches));
    }
    let mut tally = Tally::default();
    let reading = tokio::task::spawn_blocking(move || read(input, lanes));
    // A writer that fails closes its lane, which ends the reader.
    while let Some(ended) = writers.join_next().await {
        match ended {
            Ok(batches) => batches.into_iter().for_each(|batch| tally.add(batch)),
            Err(cause) => tally.fail(internal(&cause)),
        }
    }
    let bytes = match reading.await.unwrap_or_else(|cause| Err(internal(&cause))) {
        Ok(bytes) => bytes,
        Err(fault) => {
            tally.fail(fault);
            0
        }
    };
    let records = tally.finish("written");
    let records =
        records.map_err(|fault| fault.hint("load the same input again: it does no harm"))?;
    let seconds = started.elapsed().as_secs_f64();
    match globals.output {
        Format::Json => output::print_json(
            "load",
            json!({"keys": records, "size_bytes": bytes, "duration_seconds": seconds}),
        ),
        Format::Table => {
            let (records, size) = (text::grouped(records), flotilla_base::ByteSize(bytes));
            output::print(&format!("loaded {records} keys, {size} in {seconds:.2} s\n"))
        }
    }
}

fn internal(cause: &tokio::task::JoinError) -> Fault {
    Fault::new(&catalogue::INTERNAL, format!("a part of the load ended early: {cause}"))
}

/// Writes the batches of a lane up to the first that fails: the records of those that did not, and that failure.
async fn write(raw: RawKv, mut batches: mpsc::Receiver<Vec<Record>>) -> Vec<Result<u64, Error>> {
    let mut records = 0;
    while let Some(batch) = batches.recv().await {
        let count = batch.len() as u64;
        if let Err(error) = raw.batch_put(batch).await {
            return vec![Ok(records), Err(error)];
        }
        records += count;
    }
    vec![Ok(records)]
}

/// Reads all lines and hands them to the lanes; the bytes of their records.
fn read(
    mut input: Box<dyn BufRead + Send>,
    lanes: Vec<mpsc::Sender<Vec<Record>>>,
) -> Result<u64, Fault> {
    let mut pending: Vec<(Vec<Record>, usize)> = lanes.iter().map(|_| (Vec::new(), 0)).collect();
    let (mut line, mut number, mut bytes) = (String::new(), 0_u64, 0);
    loop {
        line.clear();
        number += 1;
        let what = || format!("cannot read line {number} of the input");
        if input.read_line(&mut line).map_err(|cause| Fault::io(what(), &cause))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = lines::parse(&line).map_err(|why| {
            let text = format!("line {number} of the input is no record");
            Fault::new(&catalogue::BAD_LINE, text)
                .why(why)
                .hint("a record looks like {\"key\":\"user:1\",\"value\":\"ada\"}")
        })?;
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0);
        let (batch, batch_bytes) = &mut pending[lane];
        let size = key.len() + value.len();
        bytes += size as u64;
        *batch_bytes += size;
        batch.push((key, value));
        if batch.len() >= BATCH_RECORDS || *batch_bytes >= BATCH_BYTES {
            *batch_bytes = 0;
            if lanes[lane].blocking_send(std::mem::take(batch)).is_err() {
                return Ok(bytes);
            }
        }
    }
    for ((batch, _bytes), lane) in pending.into_iter().zip(&lanes) {
        // A lane that is closed has an error of its own to tell.
        if !batch.is_empty() && lane.blocking_send(batch).is_err() {
            break;
        }
    }
    Ok(bytes)
}

/// `flotilla kv dump`.
pub(crate) async fn dump(globals: &Globals, args: RangeArgs) -> Result<(), Fault> {
    let range = super::range(&args, "kv dump")?;
    let raw = context::connect(globals).await?.raw();
    let mut scan = raw.scan(range);
    let mut out = BufWriter::new(io::stdout());
    while let Some(page) = scan.next_page().await? {
        for pair in page {
            out.write_all(lines::render(&pair.key, &pair.value).as_bytes())
                .map_err(|cause| Fault::io("cannot write the output", &cause))?;
        }
    }
    out.flush().map_err(|cause| Fault::io("cannot write the output", &cause))
}
