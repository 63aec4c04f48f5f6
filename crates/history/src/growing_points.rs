//! Points of one series that are not in a block yet: bytes that grow, in the format of the journal.
//! Pure.

use crate::point::Point;
use crate::varint::{put, take, unzigzag, zigzag};

/// Growing list of points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GrowingPoints {
    bytes: Vec<u8>,
    last: Option<Point>,
}

impl GrowingPoints {
    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the first point.
    pub(crate) fn first(&self) -> Option<Point> {
        next(&mut &self.bytes[..], None)
    }

    /// Appends a point. Ignores the point if its slot is not after the last.
    pub(crate) fn push(&mut self, point: Point) -> bool {
        let last = self.last.unwrap_or(Point { slot: 0, min: 0, avg: 0, max: 0, count: 1 });
        if self.last.is_some() && point.slot <= last.slot {
            return false;
        }
        let is_next =
            point.slot == last.slot.wrapping_add(1) && point.min == point.avg && point.max == point.avg && point.count == last.count;
        let change = u128::from(zigzag(point.avg.wrapping_sub(last.avg)));
        // The lowest of 65 bits is 0 if nothing more follows: the point is in the next slot, has
        // the same count, and its three values are equal. Codes of a scale are small enough for 64
        // bits.
        let Ok(head) = u64::try_from(change << 1 | u128::from(!is_next)) else { return false };
        put(&mut self.bytes, head);
        if !is_next {
            put(&mut self.bytes, point.slot - last.slot);
            put(&mut self.bytes, point.avg.wrapping_sub(point.min).cast_unsigned());
            put(&mut self.bytes, point.max.wrapping_sub(point.avg).cast_unsigned());
            put(&mut self.bytes, point.count);
        }
        self.last = Some(point);
        true
    }

    /// Appends bytes of a journal. Returns false if they are damaged; nothing is appended then.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> bool {
        let (mut last, mut rest) = (self.last, bytes);
        while !rest.is_empty() {
            let Some(point) = next(&mut rest, last) else { return false };
            last = Some(point);
        }
        self.bytes.extend_from_slice(bytes);
        self.last = last;
        true
    }

    /// Returns the points in order.
    pub(crate) fn points(&self) -> Vec<Point> {
        let (mut rest, mut points) = (&self.bytes[..], Vec::<Point>::new());
        while let Some(point) = next(&mut rest, points.last().copied()) {
            points.push(point);
        }
        points
    }
}

fn next(rest: &mut &[u8], last: Option<Point>) -> Option<Point> {
    let is_first = last.is_none();
    let last = last.unwrap_or(Point { slot: 0, min: 0, avg: 0, max: 0, count: 1 });
    let head = take(rest)?;
    let avg = last.avg.wrapping_add(unzigzag(head >> 1));
    if head & 1 == 0 {
        let slot = last.slot.checked_add(1)?;
        return Some(Point { slot, min: avg, avg, max: avg, count: last.count });
    }
    let step = take(rest)?;
    let slot = last.slot.checked_add(step).filter(|_| is_first || step > 0)?;
    let min = avg.wrapping_sub(take(rest)?.cast_signed());
    let max = avg.wrapping_add(take(rest)?.cast_signed());
    Some(Point { slot, min, avg, max, count: take(rest)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_points() -> impl Strategy<Value = Vec<Point>> {
        let numbers = || prop_oneof![0i64..5, -1000i64..1000, -(1i64 << 50)..1 << 50];
        let point = (prop_oneof![4 => Just(1u64), 1 => 1u64..1 << 40], numbers(), numbers(), numbers(), any::<bool>(), 0u64..400);
        prop::collection::vec(point, 0..50).prop_map(|list| {
            let mut slot = 0;
            let next = |(step, min, avg, max, is_flat, count): (u64, i64, i64, i64, bool, u64)| {
                slot += step;
                if is_flat { Point { slot, min: avg, avg, max: avg, count: 1 } } else { Point { slot, min, avg, max, count } }
            };
            list.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn points_round_trip_in_parts(points in any_points(), cut in 0usize..50) {
            let (mut whole, mut mark) = (GrowingPoints::default(), 0);
            for (at, point) in points.iter().enumerate() {
                prop_assert!(whole.push(*point));
                if at == cut {
                    mark = whole.bytes().len();
                }
            }
            prop_assert_eq!(whole.points(), points);
            let mut parts = GrowingPoints::default();
            prop_assert!(parts.extend(&whole.bytes()[..mark]) && parts.extend(&whole.bytes()[mark..]));
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn extend_never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
            let mut loose = GrowingPoints::default();
            if !loose.extend(&bytes) {
                prop_assert!(loose.is_empty());
            }
            let _ = loose.points();
        }
    }

    #[test]
    fn push_rejects_points_that_are_not_newer() {
        let mut loose = GrowingPoints::default();
        let point = |slot| Point { slot, min: 1, avg: 1, max: 1, count: 1 };
        assert!(loose.push(point(7)) && !loose.push(point(7)) && !loose.push(point(6)) && loose.push(point(8)));
        assert_eq!(loose.points().len(), 2);
    }
}
