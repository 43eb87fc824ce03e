"""Photos that can speak, and the refusal of those that cannot."""

from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.adapters.base import Frame
from service.workers.puppet.face import CHIN, FOREHEAD, OUTER_EYES, Box, FaceFinder, Mesh
from service.workers.puppet.photo import _find_in, frame_photo, frame_portrait
from tests.workers.avatars import FACES
from tests.workers.puppet.faces import cat, finder, portrait, presenter, smiley


def on_canvas(image: Frame, side: int) -> Frame:
    canvas = np.full((side, side, 3), (191, 220, 236), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def with_covered_mouth() -> Frame:
    image = presenter()
    cv2.rectangle(image, (220, 370), (380, 500), (120, 160, 120), -1)
    return image


def rotated(degrees: float) -> Frame:
    matrix = cv2.getRotationMatrix2D((300, 300), degrees, 1.0)
    return np.asarray(
        cv2.warpAffine(presenter(), matrix, (600, 600), borderMode=cv2.BORDER_REPLICATE)
    )


REFUSALS = {
    "an animal": (cat, "face_not_found", "a person"),
    "a smiley": (smiley, "face_not_found", "a person"),
    "nothing": (lambda: np.full((300, 400, 3), 90, np.uint8), "face_not_found", "a person"),
    "half a face": (lambda: presenter()[:, :300], "face_not_found", "all of the face"),
    "a face without an edge": (lambda: presenter()[:, :375], "face_cut_off", "all of the face"),
    "a face without a chin": (lambda: presenter()[:430], "face_cut_off", "all of the face"),
    "a group": (lambda: np.hstack([presenter(), presenter()]), "several_faces", "cropped"),
    "a stamp": (lambda: cv2.resize(presenter(), (96, 96)), "face_too_small", "larger photo"),
    "a hand": (with_covered_mouth, "mouth_covered", "a free mouth"),
    "upside down": (lambda: presenter()[::-1, ::-1], "face_rotated", "upright"),
    "mirrored too": (lambda: presenter()[::-1], "face_rotated", "upright"),
    "on its side": (lambda: rotated(55), "face_rotated", "upright"),
    "on its back": (lambda: np.rot90(presenter()), "face_rotated", "upright"),
}


@pytest.mark.parametrize(("make", "code", "way_out"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_photo_that_cannot_speak_is_refused_with_the_way_out(make, code, way_out) -> None:
    with pytest.raises(AttemptFailed, match=way_out) as failed:
        frame_portrait(np.ascontiguousarray(make()), 512, 512, finder())

    assert (failed.value.kind, failed.value.code) == (FailureKind.USER, code)
    assert "send" in failed.value.message


class TurnedHead(FaceFinder):
    """Sees every face turned to the side by some degrees."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self._radians = np.radians(degrees)

    def mesh(self, image: Frame, box: Box, *, turn: float = 0.0) -> Mesh:
        mesh = super().mesh(image, box, turn=turn)
        cosine, sine = np.cos(self._radians), np.sin(self._radians)
        middle = mesh.points.mean(0)
        matrix = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        return Mesh((mesh.points - middle) @ matrix.T + middle, mesh.evidence)


def test_a_face_that_looks_away_is_refused_and_a_turned_one_warned_of() -> None:
    with pytest.raises(AttemptFailed, match="towards the camera") as failed:
        frame_portrait(presenter(), 512, 512, TurnedHead(45))
    turned = frame_portrait(presenter(), 512, 512, TurnedHead(26))

    assert failed.value.code == "face_turned_away"
    assert any("turned by" in warning for warning in turned.warnings)


def test_a_good_photo_has_no_warnings() -> None:
    assert portrait().warnings == ()


def test_a_small_face_is_warned_of() -> None:
    image = on_canvas(cv2.resize(presenter(), (180, 180), interpolation=cv2.INTER_AREA), 400)

    framed = frame_portrait(image, 512, 512, finder())

    assert any("small" in warning for warning in framed.warnings)


@pytest.mark.parametrize(
    ("width", "height"),
    [(512, 512), (720, 720), (512, 910), (720, 1280), (910, 512), (1280, 720), (640, 800)],
)
def test_the_frame_has_exactly_the_size_and_shows_the_whole_face(width: int, height: int) -> None:
    framed = portrait(width, height)

    x, y = framed.points[:, 0], framed.points[:, 1]
    assert framed.image.shape == (height, width, 3)
    assert framed.image.dtype == np.uint8
    assert x.min() > 0.05 * width
    assert x.max() < 0.95 * width
    assert y.min() > 0.05 * height
    assert y.max() < 0.95 * height


@pytest.mark.parametrize(("width", "height"), [(512, 512), (720, 1280), (1280, 720)])
def test_the_points_are_those_of_the_face_in_the_frame(width: int, height: int) -> None:
    framed = portrait(width, height)

    (box, *_) = finder().detect(framed.image)
    seen = finder().mesh(framed.image, box)
    ends = [*OUTER_EYES, FOREHEAD, CHIN]
    away = np.linalg.norm(seen.points[ends, :2] - framed.points[ends, :2], axis=1)
    assert away.max() < 0.08 * seen.eye_distance


def test_a_photo_without_room_is_extended_and_the_person_is_told() -> None:
    tall = portrait(512, 910)

    assert any("extended" in warning for warning in tall.warnings)
    # Above the head there is only more of the background.
    assert np.abs(tall.image[:60].astype(int) - (191, 220, 236)).max() < 12


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize(("width", "height"), [(1280, 720), (910, 512)])
def test_a_wide_video_shows_all_of_the_head(name: str, width: int, height: int) -> None:
    framed = frame_portrait(drawn(name), width, height, finder())

    # Hair is far darker than the wall behind it, which is all that the first rows show.
    x = int(framed.points[FOREHEAD, 0])
    assert framed.image[: height // 50, x].min() > 150
    assert framed.image[: height // 2, x].min() < 100


def test_framing_is_deterministic() -> None:
    again = frame_portrait(presenter(), 512, 910, finder())

    assert np.array_equal(again.image, portrait(512, 910).image)


def test_a_huge_photo_is_framed_as_a_small_one_is() -> None:
    huge = np.zeros((4000, 6000, 3), np.uint8)
    huge[:] = (191, 220, 236)
    huge[1000:3400, 1500:3900] = cv2.resize(presenter(), (2400, 2400))
    small = cv2.resize(huge, (1500, 1000), interpolation=cv2.INTER_AREA)

    framed, expected = (frame_portrait(image, 512, 512, finder()) for image in (huge, small))

    assert np.abs(framed.points - expected.points)[:, :2].max() < 4
    assert np.abs(framed.image.astype(int) - expected.image).mean() < 4


def among(side: int, faces: list[Frame], width: int = 1512, height: int = 2016) -> Frame:
    """A photo with faces `side` pixels large in a row, on a background that is not even."""
    dots = np.random.default_rng(0).integers(60, 200, (12, 9, 3), np.uint8)
    photo = np.asarray(cv2.resize(dots, (width, height), interpolation=cv2.INTER_CUBIC))
    room = (width - side * len(faces)) // (len(faces) + 1)
    for number, face in enumerate(faces):
        left, top = room + number * (side + room), (height - side) // 3
        photo[top : top + side, left : left + side] = cv2.resize(
            face, (side, side), interpolation=cv2.INTER_AREA
        )
    return photo


@cache
def drawn(name: str) -> Frame:
    return np.array(Image.open(FACES[name]).convert("RGB"))


@pytest.mark.parametrize("share", [0.5, 0.25, 0.125])
@pytest.mark.parametrize("name", FACES)
def test_a_face_is_found_from_a_twentieth_of_the_photo_on(name: str, share: float) -> None:
    side = round(2016 * share)  # of a head and shoulders, in which the face is 0.4 high
    mesh, whole = (_find_in(photo, finder()) for photo in (among(side, [drawn(name)]), drawn(name)))

    assert mesh.eye_distance == pytest.approx(whole.eye_distance * side / 640, rel=0.03)


def test_a_row_of_five_small_faces_is_refused_as_several() -> None:
    row = among(300, [drawn(name) for name in ("anna", "marc", "zuri", "marc", "anna")], 2016, 1512)

    with pytest.raises(AttemptFailed, match="shows 5 faces") as failed:
        frame_portrait(row, 512, 512, finder())

    assert failed.value.code == "several_faces"


@pytest.mark.parametrize("shape", [(1, 1), (2, 3000), (3000, 2), (40, 40)])
def test_a_sliver_shows_no_face(shape: tuple[int, int]) -> None:
    with pytest.raises(AttemptFailed) as failed:
        frame_portrait(np.full((*shape, 3), 128, np.uint8), 512, 512, finder())

    assert failed.value.code == "face_not_found"


def beside(image: Frame, width: int, left: int) -> Frame:
    """A photo of this width with the person `left` pixels from its left edge."""
    wide = np.full((image.shape[0], width, 3), (191, 220, 236), np.uint8)
    wide[:, left : left + image.shape[1]] = image
    return wide


@pytest.mark.parametrize(("width", "height"), [(832, 480), (480, 832), (640, 608)])
@pytest.mark.parametrize("left", [0, 500, 900])
def test_a_whole_photo_is_cropped_around_the_face_without_distorting_it(
    width: int, height: int, left: int
) -> None:
    image, warnings = frame_photo(beside(presenter(), 1500, left), width, height, finder())

    assert image.shape == (height, width, 3)
    assert warnings == ()
    (box, *_) = finder().detect(image)
    seen, drawn = (
        np.ptp(finder().mesh(picture, one).points[:, :2], axis=0)
        for picture, one in ((image, box), (presenter(), finder().detect(presenter())[0]))
    )
    assert seen[0] / seen[1] == pytest.approx(drawn[0] / drawn[1], rel=0.03)
    # As much is kept as fits: either side of the photo is whole.
    assert seen[1] / height == pytest.approx(drawn[1] / min(600, 1500 * height / width), rel=0.03)


@pytest.mark.parametrize("make", [cat, smiley, lambda: np.zeros((1, 1, 3), np.uint8)])
def test_what_has_no_human_face_is_taken_whole_with_a_warning(make) -> None:
    image, (warning,) = frame_photo(make(), 1280, 320, finder())

    assert image.shape == (320, 1280, 3)
    assert "no human face" in warning


@pytest.mark.parametrize(
    ("photo", "code"),
    [
        (lambda: np.hstack([presenter(), presenter()]), "several_faces"),
        (lambda: np.ascontiguousarray(presenter()[::-1, ::-1]), "face_rotated"),
    ],
    ids=["a group", "upside down"],
)
def test_a_photo_of_two_who_could_speak_or_upside_down_is_refused(photo, code) -> None:
    with pytest.raises(AttemptFailed) as failed:
        frame_photo(photo(), 832, 480, finder())

    assert (failed.value.kind, failed.value.code) == (FailureKind.USER, code)


def test_a_face_that_is_cut_off_or_small_in_the_video_is_warned_of() -> None:
    _, (cut,) = frame_photo(presenter(), 1280, 320, finder())
    far = np.full((1950, 2600, 3), (191, 220, 236), np.uint8)
    far[200:800, 700:1300] = presenter()
    _, (small,) = frame_photo(far, 320, 320, finder())

    assert "does not fit the video whole" in cut
    assert "small in the video" in small
