//! Replays a flow of bench/market through matchcore: `escape-bench-matchcore FILE BOOKS UNTIMED`.
//!
//! FILE holds messages of 8 little-endian int64: kind (0 submit, 1 cancel), book, order, agent, side, price, quantity,
//! time in force. The first UNTIMED of them fill the books. Prints nanoseconds, trades and the quantity traded.

use matchcore::*;
use std::time::Instant;

/// Processor time of this thread in nanoseconds, where the system tells it (Linux).
fn cpu() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Commands in order, each with its book. A book numbers its commands, and the number of a submission is its order id.
fn commands(words: &[i64], books: usize) -> Vec<(usize, Command)> {
    let mut next = vec![0u64; books];
    let highest = words.chunks(8).map(|m| m[2]).max().unwrap_or(0) as usize;
    let mut id_of = vec![0u64; highest + 1];
    let convert = |m: &[i64]| {
        let (book, order) = (m[1] as usize, m[2] as usize);
        let number = next[book];
        next[book] += 1;
        let kind = if m[0] == 1 {
            CommandKind::Cancel(CancelCmd { order_id: OrderId(id_of[order]), order_kind: OrderKind::Limit })
        } else {
            id_of[order] = number;
            let side = if m[4] == 0 { Side::Buy } else { Side::Sell };
            let tif = if m[7] == 1 { TimeInForce::Ioc } else { TimeInForce::Gtc };
            CommandKind::Submit(SubmitCmd {
                order: NewOrder::Limit(LimitOrder::new(
                    Price(m[5] as u64),
                    QuantityPolicy::Standard { quantity: Quantity(m[6] as u64) },
                    OrderFlags::new(side, false, tif),
                )),
            })
        };
        let meta = CommandMeta { sequence_number: SequenceNumber(number), timestamp: Timestamp(number) };
        (book, Command { meta, kind })
    };
    words.chunks(8).map(convert).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let bytes = std::fs::read(&arguments[1]).expect("FILE cannot be read");
    let books: usize = arguments[2].parse().expect("BOOKS is a number");
    let untimed: usize = arguments[3].parse().expect("UNTIMED is a number");
    let words: Vec<i64> = bytes.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
    let all = commands(&words, books);
    let mut book: Vec<OrderBook> = (0..books).map(|i| OrderBook::new(&i.to_string())).collect();
    for (at, command) in &all[..untimed] {
        book[*at].execute(command);
    }
    let (mut trades, mut quantity) = (0u64, 0u64);
    let (wall, began) = (Instant::now(), cpu());
    for (at, command) in &all[untimed..] {
        match book[*at].execute(command) {
            CommandOutcome::Applied(CommandReport::Submit(effects)) => {
                if let Some(result) = effects.target_order().match_result() {
                    trades += result.trades().len() as u64;
                    quantity += result.executed_quantity().0;
                }
            }
            CommandOutcome::Applied(_) => {}
            CommandOutcome::Rejected(failure) => panic!("refused: {failure}"),
        }
    }
    let taken = match (began, cpu()) {
        (Some(from), Some(to)) => to - from,
        _ => wall.elapsed().as_nanos() as u64,
    };
    println!("{taken} {trades} {quantity}");
}
