//! The nearest of some known names, for errors about unknown ones.

/// `"; did you mean …?"` if one of `known` is near `name`, else nothing.
#[must_use]
pub fn hint(name: &str, known: &[impl AsRef<str>]) -> String {
    let nearest = known.iter().map(|candidate| (distance(name, candidate.as_ref()), candidate.as_ref())).min();
    match nearest {
        Some((distance, candidate)) if distance <= name.len().div_ceil(2) => format!("; did you mean {candidate:?}?"),
        _ => String::new(),
    }
}

/// Levenshtein's distance between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        assert_eq!(hint("lenett", &["lenet", "resnet8"]), "; did you mean \"lenet\"?");
        assert_eq!(hint("transformer", &["lenet", "resnet8"]), "");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
