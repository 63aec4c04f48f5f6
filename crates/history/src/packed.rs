//! Format of one series' points in a block. Pure.
//!
//! The first point is followed by streams of changes from point to point ([`bits`](crate::bits)):
//! step, average, sample count, and the distances of minimum and maximum from the average. A stream
//! that contains only zeros is left out. If the averages only vary around a level, they are stored
//! as distances from that level, which saves half a bit each.

use crate::bits;
use crate::point::Point;
use crate::varint::{put, take, unzigzag, zigzag};

/// Maximum number of points in a chunk.
pub(crate) const MOST_POINTS: usize = 8192;

/// Bit of the mask for averages that are stored as distances from a level.
const LEVEL: u8 = 1 << 5;
/// Index of the stream of averages.
const AVERAGES: u8 = 1;

/// Appends points with rising slots. `base` is a slot that is not after the first.
pub(crate) fn pack(points: &[Point], base: u64, out: &mut Vec<u8>) {
    let Some(first) = points.first() else { return };
    put(out, points.len() as u64);
    put(out, first.slot.wrapping_sub(base));
    let level = level(points);
    put(out, zigzag(level.unwrap_or(first.avg)));
    put(out, first.count);
    let pairs = || points.windows(2).filter_map(|pair| pair.first_chunk::<2>());
    let mut streams: [Vec<u64>; 5] = [
        pairs().map(|[one, next]| next.slot.wrapping_sub(one.slot).wrapping_sub(1)).collect(),
        pairs().map(|[one, next]| zigzag(next.avg.wrapping_sub(one.avg))).collect(),
        pairs().map(|[one, next]| zigzag(next.count.wrapping_sub(one.count).cast_signed())).collect(),
        points.iter().map(|point| point.avg.wrapping_sub(point.min).cast_unsigned()).collect(),
        points.iter().map(|point| point.max.wrapping_sub(point.avg).cast_unsigned()).collect(),
    ];
    if let Some(level) = level {
        streams[usize::from(AVERAGES)] = level_distances(points, level);
    }
    let mask: u8 = streams.iter().enumerate().map(|(at, stream)| u8::from(stream.iter().any(|value| *value != 0)) << at).sum();
    out.push(mask | if level.is_some() { LEVEL } else { 0 });
    for stream in streams.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, stream)| stream) {
        bits::pack(stream, out);
    }
}

/// Returns the median average if storing distances from it takes fewer bits than changes from point
/// to point.
fn level(points: &[Point]) -> Option<i64> {
    let mut sorted: Vec<i64> = points.iter().map(|point| point.avg).collect();
    sorted.sort_unstable();
    let level = *sorted.get(sorted.len() / 2)?;
    let size = |value: u64| u128::from(64 - value.leading_zeros());
    let change = |pair: &[Point]| pair.first_chunk::<2>().map_or(0, |[one, next]| size(zigzag(next.avg.wrapping_sub(one.avg))));
    let changes: u128 = points.windows(2).map(change).sum();
    let distances: u128 = level_distances(points, level).into_iter().map(size).sum();
    (distances < changes).then_some(level)
}

fn level_distances(points: &[Point], level: i64) -> Vec<u64> {
    points.iter().map(|point| zigzag(point.avg.wrapping_sub(level))).collect()
}

/// Returns the points of a chunk. Returns `None` if the chunk is damaged.
pub(crate) fn unpack(mut bytes: &[u8], base: u64) -> Option<Vec<Point>> {
    let bytes = &mut bytes;
    let count = usize::try_from(take(bytes)?).ok().filter(|count| (1..=MOST_POINTS).contains(count))?;
    let slot = base.checked_add(take(bytes)?)?;
    let avg = unzigzag(take(bytes)?);
    let samples = take(bytes)?;
    let (&mask, mut rest) = bytes.split_first()?;
    let mut stream = |at: u8, count: usize| -> Option<Vec<u64>> {
        if mask >> at & 1 == 1 { bits::unpack(&mut rest, count) } else { Some(vec![0; count]) }
    };
    let is_level = mask & LEVEL != 0;
    let (slots, averages, counts) = (stream(0, count - 1)?, stream(AVERAGES, count - usize::from(!is_level))?, stream(2, count - 1)?);
    let (below, above) = (stream(3, count)?, stream(4, count)?);
    let mut points = Vec::with_capacity(count);
    let mut last = Point { slot, min: 0, avg, max: 0, count: samples };
    for at in 0..count {
        if let Some(before) = at.checked_sub(1) {
            last.slot = last.slot.checked_add(slots.get(before)?.checked_add(1)?)?;
            if !is_level {
                last.avg = last.avg.wrapping_add(unzigzag(*averages.get(before)?));
            }
            last.count = last.count.wrapping_add(unzigzag(*counts.get(before)?).cast_unsigned());
        }
        if is_level {
            last.avg = avg.wrapping_add(unzigzag(*averages.get(at)?));
        }
        last.min = last.avg.wrapping_sub(below.get(at)?.cast_signed());
        last.max = last.avg.wrapping_add(above.get(at)?.cast_signed());
        points.push(last);
    }
    Some(points)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_points() -> impl Strategy<Value = Vec<Point>> {
        let numbers = || prop_oneof![0i64..5, -1000i64..1000, any::<i64>()];
        let point = (prop_oneof![4 => Just(1u64), 1 => 1u64..1 << 40], numbers(), numbers(), numbers(), 0u64..400);
        prop::collection::vec(point, 1..200).prop_map(|list| {
            let mut slot = 5;
            let next = |(step, min, avg, max, count)| {
                slot += step;
                Point { slot, min, avg, max, count }
            };
            list.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn pack_round_trips(points in any_points()) {
            let mut bytes = Vec::new();
            pack(&points, 5, &mut bytes);
            prop_assert_eq!(unpack(&bytes, 5), Some(points));
        }

        #[test]
        fn unpack_never_panics_on_arbitrary_bytes(bytes: Vec<u8>, base: u64) {
            let _ = unpack(&bytes, base);
        }

        #[test]
        fn unpack_never_panics_on_damaged_bytes(points in any_points(), at: prop::sample::Index, byte: u8) {
            let mut bytes = Vec::new();
            pack(&points, 5, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = unpack(&bytes, 5);
        }
    }
}
