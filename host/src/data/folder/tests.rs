//! Folders that these tests make themselves.

use std::fs;

use image::{GrayImage, Luma, Rgb, RgbImage};

use super::*;

const GREY: Shape = Shape { channels: 1, height: 6, width: 6 };
const COLOUR: Shape = Shape { channels: 3, height: 6, width: 8 };

/// A folder with so many images of each class in each of these parts; an image's brightness tells its class and number.
fn folder(parts: &[&str], classes: &[&str], images: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for part in parts {
        for (class, name) in classes.iter().enumerate() {
            let class_folder = root.path().join(part).join(name);
            fs::create_dir_all(&class_folder).unwrap();
            for number in 0..images {
                let shade = (class * 60 + number) as u8;
                let path = class_folder.join(format!("{number:03}.png"));
                GrayImage::from_pixel(9, 7, Luma([shade])).save(path).unwrap();
            }
        }
    }
    root
}

fn load_from(root: &Path, input: Shape, seed: u64) -> Result<Dataset, DataError> {
    load(root, input, seed, None, Progress::silent())
}

fn refusal(root: &Path) -> String {
    load_from(root, GREY, 1).unwrap_err().to_string()
}

#[test]
fn images_get_the_labels_of_their_folders_in_the_networks_shape() {
    let root = folder(&["train", "val", "test"], &["ant", "bee", "cat"], 8);
    let data = load_from(root.path(), COLOUR, 1).unwrap();
    assert_eq!(data.classes, ["ant", "bee", "cat"]);
    assert_eq!([data.train.len(), data.validation.len(), data.test.len()], [24, 24, 24]);
    for part in [&data.train, &data.validation, &data.test] {
        assert_eq!(part.shape, COLOUR);
        for image in 0..part.len() {
            let pixel = part.image(image)[0];
            assert_eq!(usize::from(pixel / 60), usize::from(part.labels[image]));
            assert!(part.image(image).iter().all(|&other| other == pixel), "grey files in three equal channels");
        }
    }
    let values: Vec<f32> = data.train.pixels.iter().map(|&pixel| data.grid.value(pixel)).collect();
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let deviation = (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt();
    assert!(mean.abs() < 0.05 && (deviation - 1.0).abs() < 0.05, "mean {mean}, deviation {deviation}");
}

#[test]
fn as_of_imagenet_a_validation_part_alone_is_for_tests() {
    let root = folder(&["train", "val"], &["n01", "n02"], 16);
    let data = load_from(root.path(), GREY, 1).unwrap();
    assert_eq!([data.train.len(), data.validation.len(), data.test.len()], [28, 4, 32]);
    let other = load_from(root.path(), GREY, 2).unwrap();
    assert_eq!(data.test, other.test);
    assert_ne!(data.validation, other.validation);
    assert_eq!(data.validation, load_from(root.path(), GREY, 1).unwrap().validation);
}

#[test]
fn without_parts_all_are_split_and_the_test_images_stay_whatever_the_seed() {
    let root = folder(&[""], &["a", "b"], 20);
    let (one, two) = (load_from(root.path(), GREY, 1).unwrap(), load_from(root.path(), GREY, 2).unwrap());
    assert_eq!([one.train.len(), one.validation.len(), one.test.len()], [28, 4, 8]);
    assert_eq!(one.test, two.test);
    assert_ne!(one.validation, two.validation);
}

#[test]
fn images_cover_the_input_and_are_cut_in_the_middle() {
    let root = folder(&["train", "test"], &["a", "b"], 8);
    // Thrice as wide as high: red, green, blue. What remains of a square is green.
    let stripes = RgbImage::from_fn(36, 12, |x, _| {
        let mut pixel = [0; 3];
        pixel[x as usize / 12] = 255;
        Rgb(pixel)
    });
    stripes.save(root.path().join("test/a/000.png")).unwrap();
    let square = Shape { channels: 3, height: 12, width: 12 };
    let data = load_from(root.path(), square, 1).unwrap();
    let image = data.test.image(0);
    assert!(image[144..288].iter().all(|&green| green == 255), "{image:?}");
    assert!(image[..144].iter().chain(&image[288..]).all(|&other| other == 0), "{image:?}");
    // A JPEG in capitals, in a folder below its class.
    fs::create_dir(root.path().join("test/a/deeper")).unwrap();
    stripes.save_with_format(root.path().join("test/a/deeper/x.JPEG"), image::ImageFormat::Jpeg).unwrap();
    assert_eq!(load_from(root.path(), square, 1).unwrap().test.len(), 17);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let root = folder(&["train"], &["a", "b"], 16);
    let train = root.path().join("train");
    fs::create_dir(train.join("empty")).unwrap();
    assert!(refusal(root.path()).contains("the class empty has no image"), "{}", refusal(root.path()));
    fs::write(train.join("empty/picture.bmp"), b"BM").unwrap();
    assert!(refusal(root.path()).contains("picture.bmp"), "{}", refusal(root.path()));
    fs::remove_dir_all(train.join("empty")).unwrap();
    fs::write(train.join("a/broken.jpg"), b"no image").unwrap();
    assert!(refusal(root.path()).contains("broken.jpg is damaged"), "{}", refusal(root.path()));
    fs::remove_file(train.join("a/broken.jpg")).unwrap();
    fs::create_dir_all(root.path().join("test/c")).unwrap();
    assert!(refusal(root.path()).contains("the training part has no class c"), "{}", refusal(root.path()));
    fs::remove_dir_all(root.path().join("test")).unwrap();
    fs::remove_dir_all(train.join("b")).unwrap();
    assert!(refusal(root.path()).contains("one class only, a"), "{}", refusal(root.path()));
    fs::remove_dir_all(train.join("a")).unwrap();
    assert!(refusal(root.path()).contains("no folder of a class"), "{}", refusal(root.path()));
    let two_channels = Shape { channels: 2, ..GREY };
    let few = folder(&["train"], &["a", "b"], 2);
    assert!(refusal(few.path()).contains("too few images"), "{}", refusal(few.path()));
    assert!(load_from(few.path(), two_channels, 1).unwrap_err().to_string().contains("the network takes 2"));
    let huge = Shape { channels: 3, height: 1 << 20, width: 1 << 20 };
    if cfg!(target_os = "linux") {
        assert!(load_from(few.path(), huge, 1).unwrap_err().to_string().contains("MB are free"));
    }
}

#[test]
fn a_folder_is_decoded_once_until_it_changes() {
    let (root, cache) = (folder(&["train", "test"], &["a", "b"], 8), tempfile::tempdir().unwrap());
    let load = || load(root.path(), GREY, 1, Some(cache.path()), Progress::silent());
    let first = load().unwrap();
    // An unreadable image of the same length and time is not looked at again.
    let image = root.path().join("test/a/000.png");
    let metadata = fs::metadata(&image).unwrap();
    fs::write(&image, vec![0; metadata.len() as usize]).unwrap();
    fs::File::options().write(true).open(&image).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
    assert_eq!(load().unwrap().test, first.test);
    // A file of the cache that was cut is made anew, and so is one of images that have changed.
    let kept = fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&kept).unwrap();
    fs::write(&kept, &bytes[..bytes.len() - 1]).unwrap();
    assert!(load().unwrap_err().to_string().contains("000.png"));
    GrayImage::from_pixel(3, 3, Luma([200])).save(&image).unwrap();
    assert_eq!(load().unwrap().test.image(0)[0], 200);
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
}
