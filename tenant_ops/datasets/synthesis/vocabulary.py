"""The words lifelike values are made of.

Here: plain lists. Not here: how they are combined (`recipes.py`).

Own lists rather than a package's: a word added upstream would change the bytes of every fixture. Domains end
in `.example` (RFC 2606) and addresses come from the ranges kept for documentation (RFC 5737, RFC 3849), so no
value belongs to anyone.
"""

# ruff: noqa: SIM905, RUF001 - lists of words read better without quotes; names are not ASCII


def _names(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs of a name as written and as it stands in an e-mail address."""
    pairs = (entry.partition("/") for entry in text.split())
    return tuple((name.replace("_", " "), plain) for name, _, plain in pairs)


FIRST_NAMES = _names("""
Ada/ada Aisha/aisha Alejandro/alejandro Alice/alice Amara/amara Amélie/amelie Ana/ana Anders/anders
André/andre Anika/anika Antonio/antonio Arjun/arjun Astrid/astrid Ayşe/ayse Beatriz/beatriz Ben/ben
Björn/bjorn Bruno/bruno Camila/camila Carlos/carlos Caroline/caroline Chiara/chiara Chloé/chloe
Clara/clara Daniel/daniel Darius/darius David/david Deniz/deniz Diego/diego Dmitri/dmitri Elena/elena
Elif/elif Elin/elin Emil/emil Emma/emma Esther/esther Farah/farah Fatima/fatima Felix/felix Femi/femi
Finn/finn Freya/freya Gabriel/gabriel Giulia/giulia Grace/grace Hana/hana Hanna/hanna Hassan/hassan
Helena/helena Hiroshi/hiroshi Hugo/hugo Ibrahim/ibrahim Ida/ida Imani/imani Ines/ines Ingrid/ingrid
Isaac/isaac Isabel/isabel Ivan/ivan Jakub/jakub James/james Jana/jana Jasper/jasper João/joao Jonas/jonas
José/jose Julia/julia Kai/kai Karim/karim Katarína/katarina Kenji/kenji Kofi/kofi Lars/lars Laura/laura
Layla/layla Léa/lea Leo/leo Lena/lena Liam/liam Lin/lin Lucas/lucas Lucía/lucia Łukasz/lukasz Maja/maja
Malik/malik Marco/marco Maria/maria Mateo/mateo Maya/maya Mei/mei Mia/mia Mikael/mikael Milan/milan
Mira/mira Mohammed/mohammed Nadia/nadia Naomi/naomi Nia/nia Nikola/nikola Nils/nils Noah/noah Noor/noor
Nora/nora Oliver/oliver Olga/olga Omar/omar Oscar/oscar Paolo/paolo Paula/paula Pedro/pedro Petra/petra
Priya/priya Rafael/rafael Rania/rania Ravi/ravi René/rene Robin/robin Rosa/rosa Ruth/ruth Sadia/sadia
Samir/samir Samuel/samuel Sara/sara Selin/selin Simon/simon Sofia/sofia Søren/soren Stefan/stefan
Sven/sven Tariq/tariq Theo/theo Thomas/thomas Tomás/tomas Uma/uma Valentina/valentina Victor/victor
Wei/wei Yara/yara Yuki/yuki Yusuf/yusuf Zahra/zahra Zoë/zoe Zuzana/zuzana
""")

LAST_NAMES = _names("""
Abdi/abdi Acosta/acosta Adeyemi/adeyemi Ahmed/ahmed Albrecht/albrecht Almeida/almeida Andersen/andersen
Bauer/bauer Becker/becker Bernard/bernard Bianchi/bianchi Björklund/bjorklund Boateng/boateng Brown/brown
Carvalho/carvalho Castillo/castillo Chen/chen Clarke/clarke Cohen/cohen Costa/costa Çelik/celik
Da_Silva/dasilva Davies/davies De_Vries/devries Demir/demir Diallo/diallo Dubois/dubois Dvořák/dvorak
Eriksson/eriksson Evans/evans Fernández/fernandez Ferrari/ferrari Fischer/fischer Fontaine/fontaine
Fujita/fujita García/garcia Gonzalez/gonzalez Gruber/gruber Gupta/gupta Haddad/haddad Hansen/hansen
Hernández/hernandez Hoffmann/hoffmann Horvat/horvat Hughes/hughes Ibarra/ibarra Ito/ito Ivanova/ivanova
Jansen/jansen Jensen/jensen Johansson/johansson Jones/jones Kaya/kaya Keller/keller Khan/khan Kim/kim
Kowalski/kowalski Kumar/kumar Larsen/larsen Lee/lee Lefèvre/lefevre Lindberg/lindberg López/lopez
Lund/lund Mahmoud/mahmoud Marino/marino Martin/martin Mbeki/mbeki McCarthy/mccarthy Mendes/mendes
Meyer/meyer Moreau/moreau Morris/morris Müller/muller Nakamura/nakamura Ncube/ncube Nguyen/nguyen
Nielsen/nielsen Novák/novak Nowak/nowak O'Brien/obrien O'Neill/oneill Okafor/okafor Olsen/olsen
Ortega/ortega Owusu/owusu Papadopoulos/papadopoulos Park/park Patel/patel Pereira/pereira Petrov/petrov
Popescu/popescu Rahman/rahman Ramirez/ramirez Reyes/reyes Ricci/ricci Rossi/rossi Roy/roy Ryan/ryan
Saito/saito Santos/santos Sato/sato Schäfer/schafer Schmidt/schmidt Sharma/sharma Silva/silva Singh/singh
Smith/smith Suzuki/suzuki Svensson/svensson Takahashi/takahashi Tan/tan Taylor/taylor Thompson/thompson
Torres/torres Tran/tran Turner/turner Van_Dijk/vandijk Vargas/vargas Virtanen/virtanen Wagner/wagner
Walker/walker Wang/wang Weber/weber Williams/williams Wilson/wilson Wong/wong Yamamoto/yamamoto
Yılmaz/yilmaz Young/young Zhang/zhang Zimmermann/zimmermann
""")

MAIL_DOMAINS = tuple(
    f"{name}.example"
    for name in """
northwind riverbank lumen harbour post mailbox citrus atlas meadow quartz fjord sunday
""".split()
)

ADJECTIVES = tuple(
    """
Amber Ancient Blue Broken Burning Crimson Crystal Distant Electric Empty Endless Fading Faithful Frozen
Gentle Golden Hidden Hollow Hungry Invisible Late Little Lonely Lost Lucky Midnight Neon Northern Open
Paper Perfect Quiet Rainy Restless Rising Rolling Running Second Secret Silent Silver Simple Sleeping
Slow Southern Stolen Strange Sudden Tender Twin Velvet Violet Wandering Warm Wild Winter Wooden Yellow
""".split()
)

NOUNS = tuple(
    """
Anthem Atlas Avenue Ballroom Bird Bridge Canyon Carousel Cathedral City Cloud Coast Colour Comet Dancer
Daughter Dream Echo Engine Farewell Field Fire Garden Ghost Harbour Heart Highway Horizon House Island
Kingdom Lake Lantern Letter Light Machine Mirror Moon Morning Mountain Night Ocean Orchard Parade Pilot
Promise Rain River Road Satellite Sea Season Shadow Signal Sky Stranger Summer Sun Tide Tower Train
Valley Voice Wave Window World
""".split()
)

PLACES = tuple(
    """
Lisbon Oslo Accra Kyoto Lima Havana Dublin Tbilisi Austin Berlin Cairo Porto Seoul Tunis
""".split()
)

GENRES = (
    "Pop",
    "Rock",
    "Hip Hop",
    "Electronic",
    "Jazz",
    "Classical",
    "Folk",
    "Metal",
    "Soul",
    "Reggae",
    "Ambient",
    "Afrobeat",
    "Country",
    "Latin",
    "Punk",
    "Blues",
)

# Repeated as often as they are frequent.
COUNTRIES = tuple(
    """
US US US GB GB DE DE FR FR BR BR ES IT NL SE PL PT JP IN NG KE MX CA AU IE TR ZA GH KR
""".split()
)

ISRC_COUNTRIES = tuple(
    """
US QZ GB DE FR BR SE JP
""".split()
)

OPENINGS = (
    "Here is the short version,",
    "Last week,",
    "On a second listen,",
    "For anyone new to it,",
    "After midnight,",
    "Between two tours,",
    "As expected,",
    "Against all odds,",
    "By the third track,",
    "In the studio,",
)
SUBJECTS = (
    "the band",
    "the singer",
    "this record",
    "the rhythm section",
    "a borrowed guitar",
    "the new mix",
    "the crowd",
    "the last chorus",
    "a choir of friends",
    "the string quartet",
    "the remaster",
    "the live set",
)
VERBS = (
    "finds",
    "carries",
    "hides",
    "repeats",
    "answers",
    "softens",
    "rebuilds",
    "follows",
    "opens up",
    "turns around",
)
OBJECTS = (
    "the melody of the opening track",
    "a rhythm that never quite settles",
    "what the first album left unsaid",
    "an old dance tune",
    "the quiet between two verses",
    "the whole room",
    "a line from the demo tape",
    "the sound of a summer on the coast",
    "every idea twice, and better",
    "the promise of the single",
)

# What is said in a conversation with the agent, by who says it.
PHRASES = {
    "user": (
        "Play something like {genre} but slower.",
        "Make me a playlist for a long train ride.",
        "What was the {genre} song I played on Sunday?",
        "Find live versions, please.",
        "More {genre}, fewer ballads.",
        'Who sings "{title}"?',
        "Skip everything older than ten years.",
        "Save this one to my evening list.",
        "Why did you pick that?",
        "Thanks, that is perfect.",
    ),
    "assistant": (
        "I found twelve {genre} tracks with a slower pulse, the shortest first.",
        "Done: 24 tracks, a little under two hours, mostly {genre}.",
        'You played "{title}" twice on Sunday evening.',
        "Here are three live takes, the longest first.",
        "I left the ballads out and kept the energy above 0.6.",
        'It was recorded as "{title}".',
        "I picked it because you finished every {genre} track this week.",
        "Saved. Anything else?",
        "Nothing matched exactly; these five {genre} tracks come close.",
    ),
    "tool": (
        '{"tool": "search_tracks", "query": "{genre}", "hits": 12}',
        '{"tool": "create_playlist", "title": "{title}", "tracks": 24}',
        '{"tool": "play_history", "days": 7, "genre": "{genre}"}',
    ),
}
