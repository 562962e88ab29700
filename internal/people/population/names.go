package population

// The names are those in use in several places of the region; each place has
// its own customs. They come most frequent first, and a name is drawn with a
// frequency of one over its rank, as names are found in registers.

// custom is how a people names itself.
type custom struct {
	share         int // of a hundred people
	boys, girls   []string
	family        []string
	second        []string // middle names, by which many are called
	girlSecond    []string
	places        []string
	wider         string
	familyByFirst bool // the family name is written first
}

var customs = []custom{
	{
		share:      30, // Luo and neighbours, Kisumu
		boys:       []string{"John", "Joseph", "Peter", "James", "George", "Daniel", "Samuel", "Paul", "David", "Brian", "Kevin", "Michael", "Stephen", "Victor", "Charles", "Dennis", "Collins", "Erick", "Moses", "Thomas", "Felix", "Evans", "Kennedy", "Fredrick", "Walter", "Vincent", "Tobias", "Philip", "Maurice", "Elijah", "Zachary", "Barack", "Isaac", "Nicholas", "Boniface", "Silas", "Amos", "Ezekiel", "Caleb", "Hezron", "Meshack", "Lameck", "Jared", "Nelson", "Duncan", "Geoffrey", "Francis", "Patrick", "Raphael", "Gordon"},
		girls:      []string{"Mary", "Grace", "Jane", "Rose", "Elizabeth", "Mercy", "Faith", "Lilian", "Caroline", "Esther", "Beatrice", "Millicent", "Pamela", "Susan", "Margaret", "Eunice", "Dorothy", "Florence", "Lucy", "Catherine", "Sarah", "Monica", "Judith", "Jackline", "Christine", "Rebecca", "Ruth", "Sharon", "Winnie", "Brenda", "Emily", "Josephine", "Agnes", "Alice", "Hellen", "Veronica", "Benter", "Consolata", "Philomena", "Roseline", "Mildred", "Perpetua", "Everline", "Nancy", "Joyce", "Phoebe", "Linet", "Diana", "Joan", "Anne"},
		family:     []string{"Otieno", "Odhiambo", "Ouma", "Onyango", "Omondi", "Ochieng", "Okoth", "Owino", "Okello", "Oduor", "Opiyo", "Owuor", "Ogola", "Odongo", "Omollo", "Oloo", "Okumu", "Oketch", "Ogutu", "Ojwang", "Ondiek", "Obiero", "Nyongesa", "Wafula", "Wekesa", "Barasa", "Simiyu", "Wanyama", "Juma", "Makokha", "Khaemba", "Sifuna", "Masinde", "Mukhwana", "Wanjala", "Lumumba", "Odera", "Ochola", "Ngala", "Orwa", "Osodo", "Agwanda", "Mboya", "Oginga", "Ombok", "Nyambok", "Aloo", "Rading", "Obonyo", "Ogada", "Okeyo", "Osiemo", "Magero", "Nyangweso", "Obudho", "Onditi", "Ayieko", "Kwaje", "Ligega", "Amolo"},
		second:     []string{"Otieno", "Odhiambo", "Ochieng", "Omondi", "Onyango", "Okoth", "Ouma", "Opiyo", "Owino", "Oduor"},
		girlSecond: []string{"Achieng", "Atieno", "Akinyi", "Adhiambo", "Awuor", "Anyango", "Auma", "Apiyo", "Awino", "Akoth"},
		places:     []string{"Nyalenda", "Manyatta", "Obunga", "Kajulu", "Kolwa", "Ahero", "Awasi", "Chulaimbo", "Maseno", "Kombewa", "Seme", "Nyando", "Muhoroni", "Koru", "Katito", "Rabuor", "Nyamasaria", "Dunga", "Otonglo", "Riat"}, wider: "Kisumu",
	},
	{
		share:      25, // Kikuyu, Meru, Kamba: Kiambu
		boys:       []string{"John", "Peter", "Joseph", "James", "David", "Samuel", "Daniel", "Stephen", "Paul", "Simon", "Francis", "Anthony", "Michael", "George", "Patrick", "Charles", "Isaac", "Brian", "Dennis", "Kelvin", "Martin", "Eric", "Ian", "Alex", "Benson", "Julius", "Nahashon", "Geoffrey", "Elijah", "Moses", "Gabriel", "Bernard", "Duncan", "Lawrence", "Solomon", "Timothy", "Edwin", "Jackson", "Titus", "Wilson"},
		girls:      []string{"Mary", "Jane", "Margaret", "Grace", "Lucy", "Esther", "Ann", "Faith", "Catherine", "Elizabeth", "Mercy", "Joyce", "Susan", "Rose", "Alice", "Beatrice", "Hannah", "Eunice", "Nancy", "Purity", "Tabitha", "Virginia", "Teresia", "Veronica", "Joan", "Cecilia", "Rachel", "Ruth", "Naomi", "Monica", "Lydia", "Serah", "Winfred", "Agnes", "Milka", "Zipporah", "Jacinta", "Loise", "Peninah", "Irene"},
		family:     []string{"Kamau", "Mwangi", "Njoroge", "Kariuki", "Maina", "Karanja", "Kimani", "Macharia", "Mbugua", "Ndungu", "Nganga", "Ng'ang'a", "Muturi", "Gitau", "Waweru", "Njuguna", "Githinji", "Gichuru", "Kuria", "Thuku", "Irungu", "Murithi", "Muriuki", "Mugo", "Njenga", "Kinyua", "Mutua", "Musyoka", "Kioko", "Mutiso", "Ndolo", "Muli", "Kyalo", "Mwendwa", "Nzioka", "Kilonzo", "Mbithi", "Munyao", "Wambua", "Kitheka", "Mureithi", "Gathogo", "Kiarie", "Wainaina", "Ngugi", "Kibe", "Gachanja", "Ndirangu", "Theuri", "Wachira"},
		second:     []string{"Kamau", "Mwangi", "Njoroge", "Kariuki", "Maina", "Karanja", "Kimani", "Ndungu"},
		girlSecond: []string{"Wanjiku", "Wanjiru", "Wambui", "Njeri", "Wangari", "Nyambura", "Wairimu", "Muthoni", "Wangui", "Mumbi", "Nyokabi", "Wanjeri"},
		places:     []string{"Limuru", "Kikuyu", "Githunguri", "Ruiru", "Juja", "Gatundu", "Lari", "Kabete", "Ndenderu", "Karuri", "Banana", "Ruaka", "Tigoni", "Thogoto", "Kinoo", "Wangige"}, wider: "Kiambu",
	},
	{
		share:         20, // Swahili coast and the north-east: Kwale, Garissa
		boys:          []string{"Mohamed", "Ali", "Hassan", "Abdi", "Omar", "Ahmed", "Hussein", "Juma", "Salim", "Abdallah", "Rashid", "Said", "Ibrahim", "Yusuf", "Bakari", "Hamisi", "Athumani", "Ramadhan", "Issa", "Khalid", "Suleiman", "Abdullahi", "Ismail", "Mwinyi", "Shaban", "Kassim", "Nassir", "Swaleh", "Idris", "Yasin"},
		girls:         []string{"Fatuma", "Amina", "Halima", "Zainab", "Aisha", "Mwanaisha", "Khadija", "Rukia", "Saida", "Mariam", "Zuhura", "Asha", "Maimuna", "Nuru", "Salma", "Rehema", "Hawa", "Habiba", "Sofia", "Mwanamisi", "Biasha", "Swaumu", "Zeinabu", "Ubah", "Hodan"},
		family:        []string{"Mohamed", "Ali", "Hassan", "Juma", "Omar", "Abdi", "Hussein", "Salim", "Said", "Bakari", "Mwinyi", "Rashid", "Athman", "Hamisi", "Abdalla", "Shee", "Kombo", "Mbwana", "Ngome", "Chigulu", "Mwachofi", "Mwalimu", "Dima", "Farah", "Noor", "Gedi", "Aden", "Sheikh", "Bile", "Warsame", "Hirsi", "Maalim", "Jama", "Boru", "Guyo", "Halake", "Mwadzaya", "Katana", "Kazungu", "Charo", "Karisa", "Baya", "Mwangata", "Nyawa", "Mwero"},
		second:        []string{"Mohamed", "Ali", "Hassan", "Omar", "Abdi", "Juma", "Salim", "Hussein", "Said", "Bakari"},
		girlSecond:    []string{"Mohamed", "Ali", "Hassan", "Omar", "Abdi", "Juma", "Salim", "Hussein", "Said", "Bakari"},
		places:        []string{"Ukunda", "Msambweni", "Tiwi", "Matuga", "Kinango", "Lunga Lunga", "Shimba Hills", "Diani", "Ngombeni", "Waa", "Mkongani", "Vanga", "Kikoneni", "Mwaluphamba"},
		wider:         "Kwale",
		familyByFirst: false,
	},
	{
		share:         15, // Madagascar
		boys:          []string{"Jean", "Hery", "Solofo", "Mamy", "Naina", "Tojo", "Faly", "Rivo", "Haja", "Tahina", "Lova", "Mihaja", "Andry", "Toky", "Zo", "Michel", "Paul", "Joseph", "Pierre", "Fidele", "Aina", "Patrick", "Olivier", "Rado", "Njaka"},
		girls:         []string{"Marie", "Voahangy", "Lalao", "Noro", "Fara", "Hanitra", "Haingo", "Tiana", "Vola", "Bakoly", "Nivo", "Soa", "Sahondra", "Lanto", "Mialy", "Hasina", "Jeanne", "Odette", "Hélène", "Célestine", "Rojo", "Fanja", "Miora", "Santatra", "Onja"},
		family:        []string{"Rakoto", "Rabe", "Rasoa", "Razafy", "Rakotomalala", "Randrianarisoa", "Rasoanaivo", "Rakotondrabe", "Razafindrakoto", "Andriamanana", "Ravelo", "Ramanantsoa", "Rakotoarisoa", "Rabemananjara", "Ratsimba", "Razanamasy", "Randriamampionona", "Rasolofo", "Ravaonirina", "Rafanomezantsoa", "Rabarijaona", "Ralaivao", "Ramiandrisoa", "Ranaivo", "Rajaonarivelo", "Razafimahatratra", "Andrianjafy", "Rakotovao", "Rasamoelina", "Ratovo", "Zafisoa", "Tsaramody", "Botovao", "Behavana", "Manampisoa", "Velonjara", "Jaozandry", "Totozafy"},
		second:        []string{"Nirina", "Tiana", "Herinirina", "Aina", "Solo", "Fenitra", "Patrice", "Claude", "Baptiste"},
		girlSecond:    []string{"Nirina", "Claire", "Louise", "Soazara", "Fanja", "Aina", "Rosine", "Antoinette", "Angele"},
		places:        []string{"Ifanadiana", "Ranomafana", "Kelilalina", "Tsaratanana", "Ambohimanga", "Antaretra", "Androrangavola", "Fasintsara", "Marotoko", "Analampasina", "Maroharatra", "Antsindra"},
		wider:         "Vatovavy",
		familyByFirst: true,
	},
	{
		share:      10, // Mozambique and Francophone neighbours
		boys:       []string{"José", "João", "António", "Manuel", "Francisco", "Carlos", "Paulo", "Armando", "Alberto", "Domingos", "Joaquim", "Fernando", "Pedro", "Luís", "Jean-Pierre", "Emmanuel", "Innocent", "Jean-Claude", "Eric", "Moïse", "Théogène", "Aimé", "Augusto", "Inácio", "Zacarias"},
		girls:      []string{"Maria", "Ana", "Isabel", "Rosa", "Teresa", "Catarina", "Joana", "Graça", "Helena", "Lúcia", "Celeste", "Filomena", "Marie-Claire", "Espérance", "Immaculée", "Vestine", "Chantal", "Odette", "Amélia", "Beatriz", "Cecília", "Laurinda", "Marta", "Olinda", "Sónia"},
		family:     []string{"Machava", "Macuácua", "Sitoe", "Cossa", "Langa", "Mondlane", "Nhantumbo", "Tembe", "Chissano", "Manjate", "Bila", "Matola", "Zandamela", "dos Santos", "da Silva", "Muianga", "Guambe", "Mabunda", "Nhaca", "Uamusse", "Habimana", "Uwimana", "Nsengiyumva", "Mukamana", "Niyonzima", "Ndayisaba", "Hakizimana", "Nkurunziza", "Bizimana", "Iradukunda", "Mugisha", "Twagirayezu"},
		second:     []string{"Armando", "Alberto", "Carlos", "Jorge", "Paulo", "António", "Ernesto"},
		girlSecond: []string{"da Conceição", "Armando", "Alberto", "Carlos", "Fátima", "Paulo", "Ernesto"},
		places:     []string{"Chibuto", "Manjacaze", "Xai-Xai", "Chókwè", "Bilene", "Macia", "Massingir", "Guijá", "Limpopo", "Chicualacuala"}, wider: "Gaza",
	},
}

// called are forms that a person uses, or another hears, for a name: what a
// worker types where the clinic has the full one. Not all stand in the engine's
// table, as not all do in life.
var called = map[string][]string{
	"John": {"Johnny", "Jon", "Yohana"}, "Joseph": {"Joe", "Yosefu", "Jose"}, "Peter": {"Pete", "Petero"}, "James": {"Jim", "Jimmy"}, "Daniel": {"Dan", "Danny"}, "Samuel": {"Sam", "Samwel", "Sammy"},
	"David": {"Daudi", "Dave"}, "Michael": {"Mike"}, "Stephen": {"Steve", "Steven"}, "Victor": {"Vic"}, "Charles": {"Charlie", "Chalo"}, "Moses": {"Musa", "Mose"}, "Thomas": {"Tom"}, "Kennedy": {"Ken", "Kenny"},
	"Fredrick": {"Fred", "Fredy"}, "Vincent": {"Vinny"}, "Nicholas": {"Nick"}, "Patrick": {"Pat", "Pato"}, "Anthony": {"Tony", "Antony"}, "Elijah": {"Eliya"}, "Geoffrey": {"Jeff"}, "Benson": {"Beno", "Ben"}, "Kelvin": {"Kevo"},
	"Mary": {"Maria", "Mariamu"}, "Elizabeth": {"Liz", "Lizzy", "Betty"}, "Margaret": {"Maggie", "Magret"}, "Catherine": {"Kate", "Cate", "Cathy"}, "Susan": {"Suzy", "Suzan"}, "Rebecca": {"Becky", "Beka"},
	"Caroline": {"Carol", "Caro"}, "Jackline": {"Jackie", "Jaki"}, "Christine": {"Chris", "Tina"}, "Josephine": {"Josy", "Fina"}, "Beatrice": {"Betty", "Bea"}, "Millicent": {"Milly", "Mili"}, "Veronica": {"Vero"}, "Florence": {"Flo"},
	"Philomena": {"Philo", "Mena"}, "Consolata": {"Conso"}, "Agnes": {"Aggy"}, "Esther": {"Ester", "Esta"}, "Roseline": {"Rose"}, "Virginia": {"Gini"}, "Teresia": {"Terry"}, "Tabitha": {"Tabby"}, "Jacinta": {"Jacy"},
	"Mohamed": {"Mudi", "Muhammad", "Mo"}, "Abdallah": {"Dulla", "Abdi"}, "Fatuma": {"Fatma", "Tuma"}, "Aisha": {"Asha", "Esha"}, "Khadija": {"Dija", "Hadija"}, "Zainab": {"Zena", "Zeinabu"}, "Suleiman": {"Sele", "Sulemani"},
	"Ramadhan": {"Rama"}, "Ibrahim": {"Ibra", "Brahim"}, "Mwanaisha": {"Mwana"}, "Athumani": {"Osman"}, "Hussein": {"Huseni"}, "Solofo": {"Solo"}, "Lalao": {"Lala"}, "Voahangy": {"Vao"}, "Célestine": {"Tine"},
	"José": {"Zé", "Zeca"}, "António": {"Toninho", "Tony"}, "Francisco": {"Chico"}, "Joaquim": {"Quim"}, "Fernando": {"Nando"}, "Isabel": {"Bela"}, "Filomena": {"Mena"}, "Jean-Pierre": {"JP", "Pierre"}, "Jean-Claude": {"Claude"}, "Marie-Claire": {"Claire"},
	"Wanjiku": {"Shiku", "Ciku"}, "Wanjiru": {"Shiro", "Ciru"}, "Wambui": {"Shibui"},
}
