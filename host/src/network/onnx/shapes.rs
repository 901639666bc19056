//! The arithmetic on shapes that exporters write around a reshape, folded while a file is read.

use super::constant::Constant;
use super::node::NodeView;

/// Stands for the number of images, which is not known.
pub(super) const BATCH: i64 = i64::MIN;

/// Numbers that follow from shapes, as far as they are known.
pub(super) type Numbers = Vec<i64>;

/// The result of a node that computes on shapes, if it is one. `inputs` has its inputs that are such numbers, by place.
pub(super) fn fold(view: &NodeView<'_>, inputs: &[Option<Numbers>]) -> Option<Numbers> {
    let input = |place: usize| inputs.get(place)?.clone();
    let axis = |name: &str| view.attribute(name).map_or(0, |attribute| attribute.i);
    match view.node.op_type.as_str() {
        "Cast" | "Identity" | "Unsqueeze" | "Squeeze" => input(0),
        "Gather" if axis("axis") == 0 => {
            let (data, places) = (input(0)?, input(1)?);
            places.into_iter().map(|place| data.get(wrapped(place, data.len())?).copied()).collect()
        }
        "Slice" => {
            let data = input(0)?;
            let given = |name: &str, place| input(place).or_else(|| Some(view.attribute(name)?.ints.clone()));
            let (start, end) = (*given("starts", 1)?.first()?, *given("ends", 2)?.first()?);
            let place = |at: i64| if at < 0 { at + data.len() as i64 } else { at }.clamp(0, data.len() as i64) as usize;
            data.get(place(start)..place(end)).map(<[i64]>::to_vec)
        }
        "Concat" if axis("axis") == 0 => {
            let parts: Option<Vec<Numbers>> = (0..view.node.input.len()).map(input).collect();
            Some(parts?.concat())
        }
        "Mul" => match (&input(0)?[..], &input(1)?[..]) {
            (&[a], &[b]) if a != BATCH && b != BATCH => Some(vec![a.checked_mul(b)?]),
            _ => None,
        },
        _ => None,
    }
}

fn wrapped(place: i64, len: usize) -> Option<usize> {
    usize::try_from(if place < 0 { place + len as i64 } else { place }).ok()
}

/// Whether a reshape of images of `elements` numbers to these dimensions makes one row of features of each image.
///
/// # Errors
/// Why it does not.
pub(super) fn is_flattening(dims: &[i64], elements: usize) -> Result<(), String> {
    let refuse = || Err(format!("only a reshape to one row of features an image is supported, not to {}", shown(dims)));
    // A number of images of 0 copies it; trailing ones change nothing.
    let [batch, features, rest @ ..] = dims else { return refuse() };
    let features_fit = *features == -1 || usize::try_from(*features) == Ok(elements);
    let one_open = !(*batch == -1 && *features == -1);
    if matches!(*batch, BATCH | -1 | 0 | 1) && features_fit && one_open && rest.iter().all(|&dim| dim == 1) {
        Ok(())
    } else {
        refuse()
    }
}

fn shown(dims: &[i64]) -> String {
    let dims: Vec<String> =
        dims.iter().map(|&dim| if dim == BATCH { "N".to_owned() } else { dim.to_string() }).collect();
    format!("[{}]", dims.join(", "))
}

/// A constant as numbers on shapes.
pub(super) fn numbers(constant: &Constant) -> Numbers {
    constant.ints()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_to_one_row_are_flattenings() {
        for dims in [&[BATCH, -1][..], &[-1, 48], &[0, -1], &[1, 48], &[BATCH, 48, 1, 1]] {
            assert_eq!(is_flattening(dims, 48), Ok(()), "{dims:?}");
        }
        for dims in [&[-1][..], &[1, 3, 16], &[-1, 24], &[2, 24], &[-1, -1]] {
            assert!(is_flattening(dims, 48).is_err(), "{dims:?}");
        }
        assert!(is_flattening(&[BATCH, 2, 24], 48).unwrap_err().ends_with("not to [N, 2, 24]"));
    }
}
